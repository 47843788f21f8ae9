"""The service over the wire: predictions out of a real storage, an attention map into it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from abdomenatlas.storage.v1 import storage_pb2 as storage_pb
from abdomenatlas.type.v1.geometry_pb2 import GridSpec
from abdomenatlas.uncertainty.v1 import uncertainty_pb2 as pb
from abdomenatlas.uncertainty.v1.uncertainty_pb2_grpc import UncertaintyServiceStub
from services.core import arrayfile
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.memory import MemoryGate
from services.core.rpc.convert import array_ref
from services.core.scan import on_grid
from services.core.storage import Storage
from services.core.turns import Turns
from services.uncertainty import scoring
from services.uncertainty.attention import listed
from services.uncertainty.calibrated import CALIBRATED
from tests.components.case import CLASS_MAP, Case, new_case
from tests.uncertainty import plain
from tests.uncertainty.ensembles import Array, blobs, ensemble

# 54 x 63 x 66 mm with i running to the back and j to the right: the network grid has 36 x 42 x 44 voxels.
CT = Geometry((70, 54, 22), (0.0, 1.0, 0.0, -20.0, -0.9, 0.0, 0.0, 31.0, 0.0, 0.0, 3.0, -300.0))
ORGANS = ("aorta", "kidney_left", "liver", "spleen")


@pytest.fixture(scope="module")
def case(storage: Storage) -> Case:
    return new_case(storage, "case", CT)


@pytest.fixture(scope="module")
def models(case: Case) -> list[dict[str, Array]]:
    return blobs(0, ORGANS, models=3, shape=case.grid.array_shape)


@pytest.fixture(scope="module")
def predictions(case: Case, models: list[dict[str, Array]]) -> list[str]:
    return [case.predict(name, model) for name, model in zip(("swin", "unet", "segresnet"), models, strict=True)]


def score(stub: UncertaintyServiceStub, case: Case, predictions: list[str], **more: object) -> storage_pb.AttentionMap:
    *progress, last = stub.Score(pb.ScoreRequest(volume=case.volume.name, predictions=predictions, **more))  # type: ignore[arg-type]
    fractions = [message.progress.fraction for message in progress]
    assert fractions == sorted(fractions)
    assert {message.progress.stage for message in progress} <= {"queued", "reading", "scoring", "storing"}
    return last.attention_map


def refused(stub: UncertaintyServiceStub, case: Case, predictions: list[str], **more: object) -> AtlasError:
    before = case.storage.rpc.ListAttentionMaps(storage_pb.ListAttentionMapsRequest(parent=case.volume.name))
    with pytest.raises(AtlasError) as caught:
        score(stub, case, predictions, **more)
    after = case.storage.rpc.ListAttentionMaps(storage_pb.ListAttentionMapsRequest(parent=case.volume.name))
    assert after == before, "a refused call left something behind"
    return caught.value


def test_profiles(stub: UncertaintyServiceStub) -> None:
    profiles = stub.ListProfiles(pb.ListProfilesRequest()).profiles
    assert [profile.name for profile in profiles] == ["calibrated", "parity"]
    assert [p.name for p in profiles] == sorted(p.name for p in profiles)
    assert all(profile.description for profile in profiles)


def test_a_score_is_the_plain_rendering(
    stub: UncertaintyServiceStub, case: Case, models: list[dict[str, Array]], predictions: list[str]
) -> None:
    found = score(stub, case, predictions, profile="parity")
    heat, masks = case.storage.array(found.heat), plain.ensemble_masks(models)
    assert heat.geometry == case.grid
    assert heat.channels == ORGANS
    expected = {organ: plain.attend(models, organ, masks) for organ in ORGANS}
    for organ in ORGANS:
        np.testing.assert_array_equal(heat.channel(organ), expected[organ].heat)
    sums = {organ: int(maps.heat.sum()) for organ, maps in expected.items()}
    assert [(o.organ, o.heat_sum) for o in found.organs] == sorted(sums.items(), key=lambda item: -item[1])
    for scored in found.organs:
        maps = expected[scored.organ]
        assert scored.attention_voxels == np.count_nonzero(maps.attention)
        assert scored.attention_mm3 == pytest.approx(scored.attention_voxels * 1.5**3)
        assert scored.inconsistency_voxels == np.count_nonzero(maps.inconsistency)
        assert scored.uncertainty_voxels == np.count_nonzero(maps.uncertainty)
        assert scored.overlap_voxels == np.count_nonzero(maps.overlap)
    assert found.priority == sum(np.count_nonzero(maps.attention) for maps in expected.values())
    assert found.attention_size == pytest.approx(sum(sums.values()) / 255 / case.grid.array_shape[0])
    assert (found.profile, list(found.predictions)) == ("parity", predictions)


def test_a_second_call_returns_the_first_map_at_once(
    stub: UncertaintyServiceStub, case: Case, predictions: list[str]
) -> None:
    first = score(stub, case, predictions, profile="parity")
    request = pb.ScoreRequest(volume=case.volume.name, predictions=predictions, organs=ORGANS[::-1], profile="parity")
    *progress, last = stub.Score(request)
    assert last.attention_map == first
    assert {message.progress.stage for message in progress} <= {"queued"}


def test_the_same_call_twice_at_once_is_computed_once(
    stub: UncertaintyServiceStub, case: Case, models: list[dict[str, Array]]
) -> None:
    """The second waits for the first and returns its map."""
    names = [case.predict(f"twice-{number}", model) for number, model in enumerate(models)]

    def ask(_: int) -> tuple[storage_pb.AttentionMap, bool]:
        *progress, last = stub.Score(pb.ScoreRequest(volume=case.volume.name, predictions=names))
        return last.attention_map, "scoring" in {message.progress.stage for message in progress}

    with ThreadPoolExecutor(4) as pool:
        maps, computed = zip(*pool.map(ask, range(4)), strict=True)
    assert all(found == maps[0] for found in maps)
    assert sorted(computed) == [False, False, False, True]


def test_the_default_profile_lists_regions(
    stub: UncertaintyServiceStub, case: Case, models: list[dict[str, Array]], predictions: list[str]
) -> None:
    """The most urgent first, on the grid of the heat; the map says the same whatever the order of the predictions."""
    found = score(stub, case, predictions)
    together = ensemble(models, case.grid)
    ct = on_grid(case.storage.get(case.volume.ct), case.ct, case.grid, case.volume.name)
    expected = {one.score.organ: one for one in CALIBRATED.attend(together, ORGANS, case.ct, ct)}
    regions = listed(region for one in expected.values() for region in one.regions)
    assert (found.profile, found.profile_version) == ("calibrated", CALIBRATED.version)
    assert regions
    assert found.region_count == sum(len(one.regions) for one in expected.values())
    for rank, (message, region) in enumerate(zip(found.regions, regions, strict=True), 1):
        assert (message.rank, message.organ, message.probability) == (rank, region.organ, region.probability)
        assert tuple(message.box.first[::-1]) == region.corner
        inside = case.grid.matrix @ [*region.centre[::-1], 1.0]
        assert list(message.centre_mm) == pytest.approx(inside[:3].tolist())
    assert found.priority == round(sum(one.score.expected_error_mm3 for one in expected.values()))
    heat = case.storage.array(found.heat)
    for organ, one in expected.items():
        np.testing.assert_array_equal(heat.channel(organ)[one.heat.slices], one.heat.voxels)
    other = score(stub, case, predictions[::-1])
    assert (other.regions, other.priority) == (found.regions, found.priority)


def test_a_damaged_prediction_is_told_and_leaves_nothing(
    stub: UncertaintyServiceStub, case: Case, predictions: list[str]
) -> None:
    """Its header is whole, so storage took it; its voxels cannot be decompressed."""
    soft = np.repeat(np.random.default_rng(0).integers(0, 255, (*case.grid.array_shape[:2], 1)), 99, axis=2)
    array = soft[:, :, : case.grid.array_shape[2]].astype(np.uint8)
    data = bytearray(arrayfile.encode(["liver"], [array], case.grid))
    data[len(data) // 3 : len(data) // 3 + 600] = b"\xff" * 600
    record = storage_pb.Prediction(
        model=storage_pb.ModelRef(name="models/damaged/versions/1", weights_sha256="0" * 64),
        array=array_ref(case.storage.put(bytes(data)), arrayfile.decode(bytes(data))),
        grid=GridSpec(spacing_mm=1.5),
        class_map=CLASS_MAP,
        voxel_digest=case.volume.voxel_digest,
    )
    request = storage_pb.CreatePredictionRequest(parent=case.volume.name, prediction_id="d" * 32, prediction=record)
    damaged = case.storage.rpc.CreatePrediction(request).prediction.name
    for profile in ("calibrated", "parity"):
        error = refused(stub, case, [predictions[0], damaged], profile=profile)
        assert error.reason == Reason.ARRAY_FILE_CORRUPT


def test_only_the_organs_asked_for(stub: UncertaintyServiceStub, case: Case, predictions: list[str]) -> None:
    everything = {organ.organ: organ for organ in score(stub, case, predictions, profile="parity").organs}
    found = score(stub, case, predictions, organs=["spleen", "aorta"], profile="parity")
    assert list(found.heat.channels) == ["aorta", "spleen"]
    assert {organ.organ: organ for organ in found.organs} == {o: everything[o] for o in ("aorta", "spleen")}
    assert found.priority == sum(organ.attention_voxels for organ in found.organs)


def test_nothing_predicted_is_an_empty_map(stub: UncertaintyServiceStub, case: Case) -> None:
    nothing = {"liver": np.zeros(case.grid.array_shape, np.uint8)}
    found = score(stub, case, [case.predict("nothing", nothing), case.predict("neither", nothing)])
    assert (list(found.organs), found.priority, found.attention_size) == ([], 0, 0)
    assert not case.storage.array(found.heat).channel("liver").any()


def test_bad_requests_are_refused_and_leave_nothing(
    stub: UncertaintyServiceStub, case: Case, models: list[dict[str, Array]], predictions: list[str]
) -> None:
    liver = {"liver": models[0]["liver"]}
    other = new_case(case.storage, "other", CT, seed=1)
    coarse = {"liver": np.zeros((22, 21, 18), np.uint8)}
    missing = f"{case.volume.name}/predictions/{'0' * 32}"
    for bad, field, reason in [
        ([], "predictions", Reason.FIELD_REQUIRED),
        (predictions * 6, "predictions", Reason.FIELD_INVALID),
        ([predictions[0], predictions[0]], "predictions[1]", Reason.FIELD_INVALID),
        (["volumes/case/../predictions/x"], "predictions[0]", Reason.NAME_INVALID),
        ([predictions[0], missing], "", Reason.RESOURCE_NOT_FOUND),
        ([predictions[0], other.predict("unet", liver)], "predictions[1]", Reason.FIELD_INVALID),
        ([predictions[1], case.predict("unet", liver, version="2")], "predictions[0]", Reason.FIELD_INVALID),
        ([predictions[0], case.predict("coarse", coarse, spacing_mm=3.0)], "", Reason.GEOMETRY_MISMATCH),
        (
            [predictions[0], case.predict("later", liver, class_map="abdomenatlas-1.1")],
            "predictions[1]",
            Reason.CLASS_MAP_MISMATCH,
        ),
    ]:
        error = refused(stub, case, bad)
        assert error.reason == reason, (bad, error)
        assert not field or error.field == field, (bad, error)


def test_unknown_names_are_refused(stub: UncertaintyServiceStub, case: Case, predictions: list[str]) -> None:
    unknown_profile = refused(stub, case, predictions, profile="parrot")
    assert unknown_profile.reason == Reason.PROFILE_UNKNOWN
    assert "parity" in unknown_profile.remedy
    assert refused(stub, case, predictions, organs=["tail"]).reason == Reason.ORGAN_UNKNOWN
    absent = refused(stub, case, predictions, organs=["pancreas"])
    assert (absent.reason, absent.field) == (Reason.FIELD_INVALID, "organs")
    with pytest.raises(AtlasError) as caught:
        list(stub.Score(pb.ScoreRequest(volume="volumes/nobody", predictions=predictions)))
    assert caught.value.reason == Reason.RESOURCE_NOT_FOUND


def test_both_geometries_are_named(stub: UncertaintyServiceStub, case: Case, predictions: list[str]) -> None:
    coarse = case.predict("rough", {"liver": np.zeros((22, 21, 18), np.uint8)}, spacing_mm=3.0)
    message = refused(stub, case, [predictions[0], coarse]).message
    assert "36x42x44 voxels of 1.5 x 1.5 x 1.5 mm" in message
    assert "18x21x22 voxels of 3 x 3 x 3 mm" in message


def test_a_volume_larger_than_the_memory_is_refused_before_it_is_read(case: Case, predictions: list[str]) -> None:
    stages: list[str] = []
    request = pb.ScoreRequest(volume=case.volume.name, predictions=predictions[:2])
    with pytest.raises(AtlasError, match=r"volumes/case needs \d+ MiB") as caught:
        scoring.score(case.storage, MemoryGate(2**19), Turns(), request, lambda stage, _: stages.append(stage))
    assert caught.value.reason == Reason.VOLUME_TOO_LARGE
    assert stages == ["queued"]

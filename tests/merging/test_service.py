"""The service over the wire: predictions and labels out of a real storage, a merged version into it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from abdomenatlas.merging.v1 import merging_pb2 as pb
from abdomenatlas.merging.v1.merging_pb2_grpc import MergingServiceStub
from abdomenatlas.storage.v1 import storage_pb2 as storage_pb
from services.core import classmaps
from services.core.boxes import Mask
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.memory import MemoryGate
from services.core.storage import Storage
from services.core.turns import Turns
from services.merging.merge import POLICY, merge
from tests.components.case import Array, Case, new_case

# Slices of 3 mm, i running to the left, j to the back.
CT = Geometry((60, 50, 20), (-0.9, 0.0, 0.0, 30.0, 0.0, -1.1, 0.0, 25.0, 0.0, 0.0, 3.0, -100.0))
MAP = classmaps.load()


@pytest.fixture(scope="module")
def case(storage: Storage) -> Case:
    return new_case(storage, "case", CT)


def block(shape: tuple[int, ...], *, at: float, value: int = 1) -> Mask:
    """A box that takes up a third of every axis, beginning at share `at` of it."""
    array = np.zeros(shape, np.uint8)
    k, j, i = (slice(int(n * at), int(n * (at + 1 / 3))) for n in shape)
    array[k, j, i] = value
    return array


@pytest.fixture(scope="module")
def predictions(case: Case) -> list[str]:
    """Two models; only one has the spleen, none has the aorta."""
    shape = case.grid.array_shape
    liver, spleen, stomach = (block(shape, at=at, value=255) for at in (0.1, 0.3, 0.5))
    return [
        case.predict("unet", {"liver": liver, "spleen": spleen, "stomach": stomach}),
        case.predict("swin", {"liver": liver, "stomach": stomach}),
    ]


def merged(stub: MergingServiceStub, case: Case, predictions: list[str], labels: list[str]) -> storage_pb.LabelVersion:
    request = pb.MergeRequest(volume=case.volume.name, predictions=predictions, label_versions=labels)
    *progress, last = stub.Merge(request)
    fractions = [message.progress.fraction for message in progress]
    assert fractions == sorted(fractions)
    assert {message.progress.stage for message in progress} <= {"queued", "reading", "merging", "storing"}
    return last.label_version


def refused(stub: MergingServiceStub, case: Case, predictions: list[str], labels: list[str]) -> AtlasError:
    before = case.storage.rpc.ListLabelVersions(storage_pb.ListLabelVersionsRequest(parent=case.volume.name))
    with pytest.raises(AtlasError) as caught:
        merged(stub, case, predictions, labels)
    after = case.storage.rpc.ListLabelVersions(storage_pb.ListLabelVersionsRequest(parent=case.volume.name))
    assert after == before, "a refused call left something behind"
    return caught.value


def masks(case: Case, version: storage_pb.LabelVersion) -> dict[str, Array]:
    array = case.storage.array(version.masks)
    return {organ: array.channel(organ) for organ in array.channels}


def test_ai_alone_on_the_grid_of_the_ct(stub: MergingServiceStub, case: Case, predictions: list[str]) -> None:
    version = merged(stub, case, predictions, [])
    assert case.storage.array(version.masks).geometry == case.ct
    assert [organ.organ for organ in version.organs] == ["liver", "spleen", "stomach"]  # the aorta is unknown
    assert {organ.origin for organ in version.organs} == {storage_pb.ORIGIN_AI}
    asked = {organ.organ: list(organ.predictions) for organ in version.organs}
    assert asked == {"liver": sorted(predictions), "spleen": predictions[:1], "stomach": sorted(predictions)}
    for organ in version.organs:
        mask = masks(case, version)[organ.organ]
        assert organ.voxels == mask.sum() > 0
        assert organ.volume_mm3 == pytest.approx(organ.voxels * 0.9 * 1.1 * 3)
        predicted = block(case.grid.array_shape, at=0.1).sum() * 1.5**3
        assert organ.volume_mm3 == pytest.approx(predicted, rel=0.25)  # to half a slice
    assert (version.origin, version.class_map, version.author) == (storage_pb.ORIGIN_AI, MAP.name, POLICY)


def test_source_and_revision_go_through_bit_for_bit(
    stub: MergingServiceStub, case: Case, predictions: list[str]
) -> None:
    """Scattered voxels, holes and overlaps of what people gave stay; AI fills in what they did not look for."""
    rng = np.random.default_rng(0)
    noise = (rng.random((4, *case.ct.array_shape)) < 0.3).astype(np.uint8)
    source = case.label(storage_pb.ORIGIN_SOURCE, {"liver": noise[0], "aorta": noise[1]}, author="amos22")
    older = case.label(storage_pb.ORIGIN_REVISION, {"liver": noise[2], "spleen": noise[2]}, author="first")
    newer = case.label(storage_pb.ORIGIN_REVISION, {"spleen": noise[3]}, author="second")
    version = merged(stub, case, predictions, [source, older, newer])
    found = masks(case, version)
    np.testing.assert_array_equal(found["liver"], noise[0])
    np.testing.assert_array_equal(found["aorta"], noise[1])
    np.testing.assert_array_equal(found["spleen"], noise[3])
    np.testing.assert_array_equal(found["stomach"], masks(case, merged(stub, case, predictions, []))["stomach"])
    origins = {organ.organ: (organ.origin, organ.label_version) for organ in version.organs}
    assert origins == {
        "aorta": (storage_pb.ORIGIN_SOURCE, source),
        "liver": (storage_pb.ORIGIN_SOURCE, source),
        "spleen": (storage_pb.ORIGIN_REVISION, newer),
        "stomach": (storage_pb.ORIGIN_AI, ""),
    }
    combined = case.storage.array(version.combined).channel("combined_labels")
    expected = np.zeros_like(combined)
    for organ in ("stomach", "spleen", "liver", "aorta"):  # lowest precedence first
        expected[found[organ] != 0] = MAP.id_of(organ)
    np.testing.assert_array_equal(combined, expected)


def test_looked_for_and_absent_beats_ai(stub: MergingServiceStub, case: Case, predictions: list[str]) -> None:
    absent = case.label(storage_pb.ORIGIN_SOURCE, {"spleen": np.zeros(case.ct.array_shape, np.uint8)})
    version = merged(stub, case, predictions, [absent])
    spleen = next(organ for organ in version.organs if organ.organ == "spleen")
    assert (spleen.voxels, spleen.origin, spleen.label_version) == (0, storage_pb.ORIGIN_SOURCE, absent)
    assert not masks(case, version)["spleen"].any()


def test_an_organ_that_no_model_sees_is_absent_by_ai(stub: MergingServiceStub, case: Case) -> None:
    nothing = case.predict("blind", {"liver": np.zeros(case.grid.array_shape, np.uint8)})
    (liver,) = merged(stub, case, [nothing], []).organs
    assert (liver.voxels, liver.origin) == (0, storage_pb.ORIGIN_AI)


def test_labels_without_predictions(stub: MergingServiceStub, case: Case) -> None:
    liver = block(case.ct.array_shape, at=0.2)
    version = merged(stub, case, [], [case.label(storage_pb.ORIGIN_REVISION, {"liver": liver})])
    assert [organ.organ for organ in version.organs] == ["liver"]
    np.testing.assert_array_equal(masks(case, version)["liver"], liver)


def test_a_second_call_returns_the_first_version_at_once(
    stub: MergingServiceStub, case: Case, predictions: list[str]
) -> None:
    first = merged(stub, case, predictions, [])
    assert merged(stub, case, predictions[::-1], []) == first
    *progress, _ = stub.Merge(pb.MergeRequest(volume=case.volume.name, predictions=predictions))
    assert {message.progress.stage for message in progress} <= {"queued"}


def test_the_same_call_twice_at_once_is_computed_once(stub: MergingServiceStub, case: Case) -> None:
    """The second waits for the first and returns its version."""
    name = case.predict("twice", {"pancreas": block(case.grid.array_shape, at=0.4, value=255)})

    def ask(_: int) -> tuple[storage_pb.LabelVersion, bool]:
        *progress, last = stub.Merge(pb.MergeRequest(volume=case.volume.name, predictions=[name]))
        return last.label_version, "merging" in {message.progress.stage for message in progress}

    with ThreadPoolExecutor(4) as pool:
        versions, computed = zip(*pool.map(ask, range(4)), strict=True)
    assert all(version == versions[0] for version in versions)
    assert sorted(computed) == [False, False, False, True]


def test_bad_requests_are_refused_and_leave_nothing(
    stub: MergingServiceStub, case: Case, predictions: list[str]
) -> None:
    other = new_case(case.storage, "other", CT, seed=1)
    mask = {"liver": block(case.ct.array_shape, at=0.2)}
    label, foreign = case.label(storage_pb.ORIGIN_SOURCE, mask), other.label(storage_pb.ORIGIN_SOURCE, mask)
    result = merged(stub, case, predictions, []).name
    later = case.label(storage_pb.ORIGIN_SOURCE, mask, author="later", class_map="abdomenatlas-1.1")
    missing = f"{case.volume.name}/labels/{'0' * 32}"
    for predicted, labels, field, reason in [
        ([], [], "predictions", Reason.FIELD_REQUIRED),
        ([predictions[0]] * 2, [], "predictions[1]", Reason.FIELD_INVALID),
        (predictions, [label, label], "label_versions[1]", Reason.FIELD_INVALID),
        (predictions, [label] * 65, "label_versions", Reason.FIELD_INVALID),
        (predictions, [foreign], "label_versions[0]", Reason.FIELD_INVALID),
        (predictions, [result], "label_versions[0]", Reason.FIELD_INVALID),
        (predictions, ["labels/x"], "label_versions[0]", Reason.NAME_INVALID),
        (predictions, [missing], "", Reason.RESOURCE_NOT_FOUND),
        (predictions, [label, later], "label_versions[1]", Reason.CLASS_MAP_MISMATCH),
    ]:
        error = refused(stub, case, predicted, labels)
        assert error.reason == reason, (labels, error)
        assert not field or error.field == field, (labels, error)


def test_a_volume_larger_than_the_memory_is_refused_before_it_is_read(case: Case, predictions: list[str]) -> None:
    stages: list[str] = []
    request = pb.MergeRequest(volume=case.volume.name, predictions=predictions[:1])
    with pytest.raises(AtlasError, match=r"volumes/case needs \d+ MiB") as caught:
        merge(case.storage, MemoryGate(2**19), Turns(), request, lambda stage, _: stages.append(stage))
    assert caught.value.reason == Reason.VOLUME_TOO_LARGE
    assert stages == ["queued"]

"""Policies over the wire: what is merged how, what the record tells of it, and where a model's voxels can be found."""

from typing import Any

import numpy as np
import pytest

from abdomenatlas.merging.v1 import merging_pb2 as pb
from abdomenatlas.merging.v1.merging_pb2_grpc import MergingServiceStub
from abdomenatlas.storage.v1 import storage_pb2 as storage_pb
from abdomenatlas.type.v1.merge_pb2 import MergePolicy, ModelReliability, OrganSteps
from services.core import classmaps
from services.core.boxes import Mask
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.organs import Step
from services.core.organs import organ as facts
from services.core.storage import Storage
from services.merging.policy import Fusion, Overwrite, Readers
from tests.components.case import Array, Case, new_case

# On the very grid of the networks, so that every voxel of a prediction is one of the CT.
CT = Geometry((40, 30, 20), (1.5, 0.0, 0.0, 0.0, 0.0, 1.5, 0.0, 0.0, 0.0, 0.0, 1.5, 0.0))
MAP = classmaps.load()
Kind = storage_pb.LabelChange


def block(*where: slice, value: int = 1) -> Mask:
    voxels = np.zeros(CT.array_shape, np.uint8)
    voxels[where] = value
    return voxels


ALL = slice(None)
LIVER, SPLEEN, STOMACH = (block(ALL, ALL, part) for part in (slice(0, 16), slice(16, 28), slice(28, 36)))


@pytest.fixture(scope="module")
def case(storage: Storage) -> Case:
    return new_case(storage, "policies", CT)


@pytest.fixture(scope="module")
def unet(case: Case) -> str:
    """Liver, spleen and stomach side by side."""
    return case.predict("unet", {"liver": 255 * LIVER, "spleen": 255 * SPLEEN, "stomach": 255 * STOMACH})


def merged(
    stub: MergingServiceStub, case: Case, predictions: list[str], labels: list[str], **policy: Any
) -> storage_pb.LabelVersion:
    asked = MergePolicy(**policy)
    request = pb.MergeRequest(volume=case.volume.name, predictions=predictions, label_versions=labels, policy=asked)
    return list(stub.Merge(request))[-1].label_version


def masks(case: Case, version: storage_pb.LabelVersion) -> dict[str, Array]:
    array = case.storage.array(version.masks)
    return {organ: array.channel(organ) for organ in array.channels}


def entry(version: storage_pb.LabelVersion, organ: str) -> storage_pb.OrganLabel:
    return next(label for label in version.organs if label.organ == organ)


@pytest.fixture(scope="module")
def truth(case: Case) -> str:
    """A source that sees the spleen 4 voxels further on: it takes 4 from the AI's stomach and frees 4 by the liver."""
    return case.label(storage_pb.ORIGIN_SOURCE, {"spleen": block(ALL, ALL, slice(20, 32))}, author="amos22")


@pytest.mark.parametrize(
    ("overwrite", "liver", "stomach"),
    [
        (MergePolicy.OVERWRITE_UNSPECIFIED, (0, 16), (28, 36)),
        (MergePolicy.OVERWRITE_KEEP, (0, 16), (28, 36)),
        (MergePolicy.OVERWRITE_CLEAR, (0, 16), (32, 36)),
        (MergePolicy.OVERWRITE_REASSIGN, (0, 20), (32, 36)),
    ],
)
def test_a_source_among_its_neighbours(
    stub: MergingServiceStub,
    case: Case,
    unet: str,
    truth: str,
    overwrite: MergePolicy.Overwrite.ValueType,
    liver: tuple[int, int],
    stomach: tuple[int, int],
) -> None:
    version = merged(stub, case, [unet], [truth], overwrite=overwrite)
    found = masks(case, version)
    np.testing.assert_array_equal(found["spleen"], block(ALL, ALL, slice(20, 32)))
    np.testing.assert_array_equal(found["liver"], block(ALL, ALL, slice(*liver)))
    np.testing.assert_array_equal(found["stomach"], block(ALL, ALL, slice(*stomach)))
    assert version.policy.overwrite == (overwrite or MergePolicy.OVERWRITE_KEEP)


def test_what_changed_is_in_the_record_and_on_the_source_map(
    stub: MergingServiceStub, case: Case, unet: str, truth: str
) -> None:
    version = merged(stub, case, [unet], [truth], overwrite=MergePolicy.OVERWRITE_REASSIGN)
    sheet_mm3 = 20 * 30 * 1.5**3
    (gain,), (loss,) = entry(version, "liver").changes, entry(version, "stomach").changes
    assert (gain.kind, gain.added_mm3, gain.removed_mm3) == (Kind.KIND_REASSIGNED, 4 * sheet_mm3, 0)
    assert (loss.kind, loss.added_mm3, loss.removed_mm3) == (Kind.KIND_CLEARED, 0, 4 * sheet_mm3)
    array = case.storage.array(version.combined)
    assert array.channels == ("combined_labels", "sources")
    values = {(int(source.origin), int(source.change)): source.value for source in version.sources}
    ai, given = values[storage_pb.ORIGIN_AI, 0], values[storage_pb.ORIGIN_SOURCE, 0]
    reassigned = values[storage_pb.ORIGIN_AI, Kind.KIND_REASSIGNED]
    expected = block(ALL, ALL, slice(0, 16), value=ai) + block(ALL, ALL, slice(16, 20), value=reassigned)
    expected += block(ALL, ALL, slice(20, 32), value=given) + block(ALL, ALL, slice(32, 36), value=ai)
    np.testing.assert_array_equal(array.channel("sources"), expected)
    counts = {source.value: source.voxels for source in version.sources}
    assert counts == {value: int((expected == value).sum()) for value in counts}
    told = {source.value: source for source in version.sources}
    assert list(told[given].label_versions) == [truth]
    assert list(told[ai].predictions) == list(told[reassigned].predictions) == [unet]


def test_the_record_spells_the_policy_out(stub: MergingServiceStub, case: Case, unet: str, truth: str) -> None:
    version = merged(stub, case, [unet], [truth])
    steps = {entry.organ: tuple(map(Step, entry.steps)) for entry in version.policy.post_processing}
    assert steps == {organ: facts(organ).steps for organ in ("liver", "stomach")}
    assert (version.policy.fusion, version.policy.readers) == (MergePolicy.FUSION_MEAN, MergePolicy.READERS_LATEST)
    assert merged(stub, case, [unet], [truth], post_processing=version.policy.post_processing) == version
    other = merged(stub, case, [unet], [truth], post_processing=[OrganSteps(organ="liver")])
    assert other.name != version.name


def test_post_processing_is_switched_off_by_organ(stub: MergingServiceStub, case: Case) -> None:
    speckled = 255 * (
        block(slice(2, 18), slice(2, 20), slice(2, 20)) | block(slice(18, 20), slice(28, 30), slice(38, 40))
    )
    speckled[8, 8, 8] = 0
    prediction = case.predict("speckled", {"liver": speckled, "spleen": speckled})
    version = merged(stub, case, [prediction], [], post_processing=[OrganSteps(organ="spleen")])
    assert [change.kind for change in entry(version, "liver").changes] == [Kind.KIND_LARGEST, Kind.KIND_HOLES]
    assert not entry(version, "spleen").changes
    np.testing.assert_array_equal(masks(case, version)["spleen"], speckled // 255)
    alone = merged(stub, case, [prediction], [], post_processing=[OrganSteps(organ="spleen", steps=[]), OrganSteps()])
    assert not entry(alone, "liver").changes


def test_a_filled_hole_is_on_the_source_map(stub: MergingServiceStub, case: Case) -> None:
    hollow = 255 * block(slice(2, 18), slice(2, 20), slice(2, 20))
    hollow[8, 8, 8] = 0
    version = merged(stub, case, [case.predict("hollow", {"liver": hollow})], [])
    (change,) = entry(version, "liver").changes
    assert (change.kind, change.added_mm3) == (Kind.KIND_HOLES, 1.5**3)
    filled = next(source for source in version.sources if source.change == Kind.KIND_HOLES)
    sources = case.storage.array(version.combined).channel("sources")
    assert np.argwhere(sources == filled.value).tolist() == [[8, 8, 8]]


@pytest.mark.parametrize(
    ("policy", "stop"),
    [
        ({"fusion": MergePolicy.FUSION_MEAN}, 20),
        ({"fusion": MergePolicy.FUSION_MAJORITY}, 10),
        ({"fusion": MergePolicy.FUSION_STAPLE}, 10),
        ({"fusion": MergePolicy.FUSION_WEIGHTED, "reliabilities": [ModelReliability(model="models/a", dsc=0.5)]}, 10),
        ({"fusion": MergePolicy.FUSION_WEIGHTED, "reliabilities": [ModelReliability(model="models/b", dsc=0.5)]}, 20),
    ],
)
def test_models_that_differ(stub: MergingServiceStub, case: Case, policy: dict[str, Any], stop: int) -> None:
    """One is certain of 20 columns, two are of 10 and not quite of the other ten."""
    unsure = 110 * block(ALL, ALL, slice(10, 20)) + 255 * block(ALL, ALL, slice(0, 10))
    organs = {"a": 255 * block(ALL, ALL, slice(0, 20)), "b": unsure, "c": unsure}
    names = [case.predict(model, {"liver": mask}) for model, mask in organs.items()]
    if given := policy.get("reliabilities"):
        rest = [ModelReliability(model=f"models/{m}", dsc=0.8) for m in organs if f"models/{m}" != given[0].model]
        policy = policy | {"reliabilities": [*given, *rest]}
    version = merged(stub, case, names, [], **policy)
    np.testing.assert_array_equal(masks(case, version)["liver"], block(ALL, ALL, slice(0, stop)))
    left_out = {name for name, (model, _) in zip(names, organs.items(), strict=True) if _is_out(policy, model)}
    assert set(entry(version, "liver").predictions) == set(names) - left_out


def _is_out(policy: dict[str, Any], model: str) -> bool:
    return any(e.model == f"models/{model}" and e.dsc <= 0.5 for e in policy.get("reliabilities", ()))


@pytest.fixture(scope="module")
def readers(case: Case) -> list[str]:
    """Three people, of whom the first looked twice; the newest look of each counts."""
    given = [("ana", 4), ("ben", 10), ("cem", 12), ("ana", 20)]
    return [
        case.label(storage_pb.ORIGIN_REVISION, {"liver": block(ALL, ALL, slice(0, stop))}, author=author)
        for author, stop in given
    ]


@pytest.mark.parametrize(
    ("policy", "stop"),
    [
        ({}, 20),
        ({"readers": MergePolicy.READERS_MAJORITY}, 12),
        ({"readers": MergePolicy.READERS_STAPLE}, 12),
        ({"readers": MergePolicy.READERS_ADJUDICATED, "adjudicator": "ben"}, 10),
        ({"readers": MergePolicy.READERS_ADJUDICATED, "adjudicator": "dora"}, 12),
    ],
)
def test_several_readers(
    stub: MergingServiceStub, case: Case, unet: str, readers: list[str], policy: dict[str, Any], stop: int
) -> None:
    version = merged(stub, case, [unet], readers, **policy)
    np.testing.assert_array_equal(masks(case, version)["liver"], block(ALL, ALL, slice(0, stop)))
    liver = entry(version, "liver")
    assert liver.origin == storage_pb.ORIGIN_REVISION
    if stop != 12:
        assert (liver.label_version in readers, len(liver.readers), version.HasField("disagreement")) == (
            True,
            0,
            False,
        )
        return
    assert (liver.label_version, set(liver.readers)) == ("", set(readers[1:]))
    against = case.storage.array(version.disagreement)
    expected = block(ALL, ALL, slice(10, 12)) + block(ALL, ALL, slice(12, 20))
    assert against.channels == ("liver",)
    np.testing.assert_array_equal(against.channel("liver"), expected)
    assert liver.disputed_voxels == expected.sum()
    value = next(source for source in version.sources if source.label_versions)
    assert set(value.label_versions) == set(liver.readers)


def test_what_a_policy_lacks_is_refused(stub: MergingServiceStub, case: Case, unet: str) -> None:
    wrong: list[tuple[dict[str, Any], Reason, str]] = [
        ({"overwrite": 9}, Reason.FIELD_INVALID, "policy.overwrite"),
        ({"fusion": 9}, Reason.FIELD_INVALID, "policy.fusion"),
        ({"readers": -1}, Reason.FIELD_INVALID, "policy.readers"),
        ({"fusion": MergePolicy.FUSION_WEIGHTED}, Reason.FIELD_REQUIRED, "policy.reliabilities"),
        ({"readers": MergePolicy.READERS_ADJUDICATED}, Reason.FIELD_REQUIRED, "policy.adjudicator"),
        ({"adjudicator": "ana"}, Reason.FIELD_INVALID, "policy.adjudicator"),
        ({"reliabilities": [{"model": "models/unet", "dsc": 0.5}]}, Reason.FIELD_INVALID, "policy.reliabilities"),
        ({"post_processing": [{"organ": "heart"}]}, Reason.ORGAN_UNKNOWN, "policy.post_processing[0].organ"),
        ({"post_processing": [{"steps": [7]}]}, Reason.FIELD_INVALID, "policy.post_processing[0].steps"),
        ({"post_processing": [{}, {}]}, Reason.FIELD_INVALID, "policy.post_processing[1]"),
    ]
    weighted = [
        ([{"model": "unet", "dsc": 0.5}], Reason.NAME_INVALID, "policy.reliabilities[0].model"),
        ([{"model": "models/unet", "dsc": 1.5}], Reason.FIELD_INVALID, "policy.reliabilities[0].dsc"),
        ([{"model": "models/unet", "dsc": float("nan")}], Reason.FIELD_INVALID, "policy.reliabilities[0].dsc"),
        ([{"model": "models/unet", "organ": "x", "dsc": 1}], Reason.ORGAN_UNKNOWN, "policy.reliabilities[0].organ"),
        ([{"model": "models/unet", "dsc": 1}] * 2, Reason.FIELD_INVALID, "policy.reliabilities[1]"),
    ]
    for entries, reason, field in weighted:
        wrong.append(({"fusion": MergePolicy.FUSION_WEIGHTED, "reliabilities": entries}, reason, field))
    for policy, reason, field in wrong:
        with pytest.raises(AtlasError) as caught:
            merged(stub, case, [unet], [], **policy)
        assert (caught.value.reason, caught.value.field) == (reason, field), policy


def test_the_voxels_of_a_model_are_found(stub: MergingServiceStub, storage: Storage) -> None:
    """By model, version, organ and dataset; what the model did not see, and what people labelled, is not its work."""
    first, second = (new_case(storage, name, CT, seed=seed) for seed, name in ((11, "used-1"), (12, "used-2")))
    nothing = np.zeros(CT.array_shape, np.uint8)
    one = first.predict("traced", {"liver": 255 * LIVER, "spleen": 255 * SPLEEN, "aorta": nothing})
    two = second.predict("traced", {"liver": 255 * LIVER, "spleen": 255 * SPLEEN}, version="2")
    label = first.label(storage_pb.ORIGIN_REVISION, {"spleen": SPLEEN})
    old, new = (merged(stub, first, [one], labels).name for labels in ([], [label]))
    other = merged(stub, second, [two], []).name

    def uses(**request: Any) -> list[tuple[str, str, str]]:
        found, token = [], ""
        while True:
            asked = storage_pb.ListModelUsesRequest(page_size=2, page_token=token, **request)
            page = storage.rpc.ListModelUses(asked)
            assert len(page.uses) <= 2
            found += [(use.label_version, use.organ, use.model) for use in page.uses]
            if not (token := page.next_page_token):
                return found

    v1, v2 = "models/traced/versions/1", "models/traced/versions/2"
    assert uses(model="models/traced") == [
        (old, "liver", v1),
        (old, "spleen", v1),
        (new, "liver", v1),
        (other, "liver", v2),
        (other, "spleen", v2),
    ]
    assert uses(model=v1, organ="spleen") == [(old, "spleen", v1)]
    assert uses(model="models/traced", organ="spleen", newest=True) == [(other, "spleen", v2)]
    assert uses(model=v2, dataset="elsewhere") == []
    assert uses(model="models/trace") == []
    (use,) = storage.rpc.ListModelUses(storage_pb.ListModelUsesRequest(model=v1, organ="spleen")).uses
    assert use.voxels == SPLEEN.sum()
    assert use.volume_mm3 == pytest.approx(float(SPLEEN.sum()) * 1.5**3)
    for request, reason in (
        ({"model": ""}, Reason.FIELD_REQUIRED),
        ({"model": "traced"}, Reason.NAME_INVALID),
        ({"model": "models/traced", "page_size": -1}, Reason.FIELD_INVALID),
        ({"model": "models/traced", "page_token": "x"}, Reason.PAGE_TOKEN_INVALID),
    ):
        with pytest.raises(AtlasError) as caught:
            storage.rpc.ListModelUses(storage_pb.ListModelUsesRequest(**request))
        assert caught.value.reason == reason


def test_choices_are_those_of_the_contract() -> None:
    for ours, theirs in (
        (Overwrite, MergePolicy.Overwrite),
        (Fusion, MergePolicy.Fusion),
        (Readers, MergePolicy.Readers),
    ):
        named = {name.split("_", 1)[1]: value for name, value in theirs.items() if value}
        assert {choice.name: choice.value for choice in ours} == named

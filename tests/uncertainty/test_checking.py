"""CheckLabels over the wire: label versions of every origin out of a real storage, findings out of them."""

import numpy as np
import pytest

from abdomenatlas.storage.v1 import storage_pb2 as storage_pb
from abdomenatlas.type.v1 import finding_pb2
from abdomenatlas.uncertainty.v1 import uncertainty_pb2 as pb
from abdomenatlas.uncertainty.v1.uncertainty_pb2_grpc import UncertaintyServiceStub
from services.core import arrayfile
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.memory import MemoryGate
from services.core.names import content_id
from services.core.rpc.convert import array_ref
from services.core.storage import Storage
from services.uncertainty import checking
from services.uncertainty.priors import catalog
from tests.components.case import Case, new_case
from tests.uncertainty.ensembles import Array
from tests.uncertainty.priors.bodies import BODY, GRID, arrays, ball, body, only

NINE = (
    "aorta",
    "gall_bladder",
    "kidney_left",
    "kidney_right",
    "liver",
    "pancreas",
    "postcava",
    "spleen",
    "stomach",
)


def lps(masks: dict[str, Array]) -> tuple[dict[str, Array], Geometry]:
    """The masks as an LPS file holds them."""
    matrix = GRID.matrix
    matrix[:2, :3] *= -1
    matrix[0, 3], matrix[1, 3] = (GRID.matrix[axis, 3] + 3 * (GRID.shape[axis] - 1) for axis in (0, 1))
    grid = Geometry.from_matrix(GRID.shape, matrix)
    return {organ: np.ascontiguousarray(mask[:, ::-1, ::-1]) for organ, mask in masks.items()}, grid


HEALTHY, CT = lps(arrays(only(BODY, *NINE)))
FAULTY, _ = lps(
    arrays(
        only(
            body(
                kidney_left=BODY["kidney_right"],
                kidney_right=BODY["kidney_left"],
                spleen=(*BODY["spleen"], ball(-35, 40, 330, 12)),
                liver=(),
            ),
            *NINE,
        )
    )
)


@pytest.fixture(scope="module")
def case(storage: Storage) -> Case:
    return new_case(storage, "checked", CT)


@pytest.fixture(scope="module")
def faulty(case: Case) -> str:
    return case.label(storage_pb.ORIGIN_SOURCE, FAULTY)


def check(stub: UncertaintyServiceStub, label_version: str, *rules: str) -> pb.LabelCheck:
    *progress, last = stub.CheckLabels(pb.CheckLabelsRequest(label_version=label_version, rules=rules))
    fractions = [message.progress.fraction for message in progress]
    assert fractions == sorted(fractions)
    assert {message.progress.stage for message in progress} <= {"queued", "reading", "checking"}
    return last.check


def merged(case: Case, masks: dict[str, Array]) -> str:
    """A version as a merge records it."""
    data = arrayfile.encode(list(masks), list(masks.values()), CT)
    masks_ref = array_ref(case.storage.put(data), arrayfile.decode(data))
    organs = [
        storage_pb.OrganLabel(
            organ=organ,
            origin=storage_pb.ORIGIN_AI,
            voxels=np.count_nonzero(mask == 1),
            volume_mm3=np.count_nonzero(mask == 1) * CT.voxel_volume_mm3,
        )
        for organ, mask in masks.items()
    ]
    record = storage_pb.LabelVersion(
        origin=storage_pb.ORIGIN_AI, masks=masks_ref, class_map="abdomenatlas-1.0", organs=organs, author="test"
    )
    request = storage_pb.CreateLabelVersionRequest(
        parent=case.volume.name, label_version_id=content_id(masks_ref.object.sha256), label_version=record
    )
    return case.storage.rpc.CreateLabelVersion(request).label_version.name


def test_rules_are_listed_in_the_order_of_the_catalog(stub: UncertaintyServiceStub) -> None:
    rules = stub.ListRules(pb.ListRulesRequest()).rules
    assert [rule.name for rule in rules] == [prior.name for prior in catalog.PRIORS]
    assert all(rule.description and rule.threshold and rule.source and rule.severity for rule in rules)


@pytest.mark.parametrize("origin", [storage_pb.ORIGIN_SOURCE, storage_pb.ORIGIN_REVISION])
def test_healthy_labels_of_sources_and_people_have_no_findings(
    stub: UncertaintyServiceStub, case: Case, origin: storage_pb.Origin.ValueType
) -> None:
    name = case.label(origin, HEALTHY)
    answer = check(stub, name)
    assert (answer.label_version, list(answer.findings)) == (name, [])
    assert list(answer.rules) == [prior.name for prior in catalog.PRIORS]
    assert answer.catalog_version == catalog.VERSION


def test_merged_labels_are_checked(stub: UncertaintyServiceStub, case: Case) -> None:
    assert not check(stub, merged(case, HEALTHY)).findings


def test_findings_say_what_and_where(stub: UncertaintyServiceStub, faulty: str) -> None:
    findings = {finding.rule: finding for finding in check(stub, faulty).findings}
    assert {"organ_missing", "in_pieces"} <= findings.keys()
    piece = findings["in_pieces"]
    assert (list(piece.organs), piece.severity) == (["spleen"], finding_pb2.SEVERITY_WARNING)
    assert [evidence.name for evidence in piece.evidence] == ["pieces", "extra_ml", "largest_extra_ml", "gap_mm"]
    assert piece.evidence[0].value == 2
    assert piece.evidence[1].value == pytest.approx(piece.volume_mm3 / 1000) == pytest.approx(7.2, rel=0.05)
    assert list(piece.centre_mm) == pytest.approx([-35, 40, 330], abs=3)
    # The box is in voxels of the LPS grid: its first voxel is the one furthest to the right and front.
    i, j, k = piece.box.first
    corner = CT.matrix @ (i, j, k, 1)
    assert corner[:3] == pytest.approx((-35 + 12, 40 + 12, 330 - 12), abs=3)
    assert [3 * n for n in piece.box.size] == pytest.approx([24, 24, 24], abs=3)
    missing = findings["organ_missing"]
    assert missing.HasField("box")
    assert missing.organs[0] in missing.message
    assert missing.volume_mm3 > 1000


def test_attention_tells_a_finding_as_the_check_does(stub: UncertaintyServiceStub, case: Case) -> None:
    """Kidneys on the wrong sides, for all models and on a label version: the same message, each on its own grid."""
    swapped = only(body(kidney_left=BODY["kidney_right"], kidney_right=BODY["kidney_left"]), *NINE)
    predictions = [
        case.predict(model, {organ: mask * 255 for organ, mask in arrays(swapped).items()}, spacing_mm=3.0)
        for model in ("swin", "unet")
    ]
    *_, scored = stub.Score(pb.ScoreRequest(volume=case.volume.name, predictions=predictions))
    checked = check(stub, case.label(storage_pb.ORIGIN_SOURCE, lps(arrays(swapped))[0]), "sides_swapped").findings
    (expected,) = checked
    assert [number.name for number in expected.evidence] == ["left_to_liver_mm", "right_to_liver_mm"]
    pointed = [one for one in scored.attention_map.regions if one.cause == storage_pb.AttentionRegion.CAUSE_PRIOR]
    told = {region.organ: region for region in pointed if region.findings[0].rule == "sides_swapped"}
    assert told.keys() == {"kidney_left", "kidney_right"}
    for region in told.values():
        (finding,) = region.findings
        assert (finding.box, finding.volume_mm3) == (region.box, region.volume_mm3)
        for centre_mm in (region.centre_mm, expected.centre_mm):
            assert list(finding.centre_mm) == pytest.approx(list(centre_mm))
        # The grid of the CT runs to the left and to the back, that of the heat to the right and to the front.
        assert (finding.box.size, finding.box.first != expected.box.first) == (expected.box.size, True)
        finding.box.CopyFrom(expected.box)
        finding.centre_mm[:] = expected.centre_mm
        assert finding == expected


def test_only_the_rules_asked_for(stub: UncertaintyServiceStub, faulty: str) -> None:
    answer = check(stub, faulty, "in_pieces", "sides_swapped", "in_pieces")
    assert list(answer.rules) == ["sides_swapped", "in_pieces"]
    assert [finding.rule for finding in answer.findings] == ["in_pieces"]


def test_what_was_not_looked_for_is_not_missed(stub: UncertaintyServiceStub, case: Case) -> None:
    name = case.label(storage_pb.ORIGIN_SOURCE, {"spleen": HEALTHY["spleen"], "kidney_left": HEALTHY["kidney_left"]})
    assert not check(stub, name).findings


@pytest.mark.parametrize(
    ("name", "rules", "field", "reason"),
    [
        ("", [], "label_version", Reason.FIELD_REQUIRED),
        ("volumes/checked", [], "label_version", Reason.NAME_INVALID),
        ("volumes/../labels/x", [], "label_version", Reason.NAME_INVALID),
        (f"volumes/checked/labels/{'0' * 32}", [], None, Reason.RESOURCE_NOT_FOUND),
        ("faulty", ["parrot"], "rules", Reason.FIELD_INVALID),
        ("faulty", ["leak"] * 65, "rules", Reason.FIELD_INVALID),
    ],
)
def test_bad_requests_are_refused(
    stub: UncertaintyServiceStub, faulty: str, name: str, rules: list[str], field: str | None, reason: Reason
) -> None:
    with pytest.raises(AtlasError) as caught:
        check(stub, faulty if name == "faulty" else name, *rules)
    assert caught.value.reason == reason
    assert field is None or caught.value.field == field


def test_a_version_larger_than_the_memory_is_refused_before_it_is_read(case: Case, faulty: str) -> None:
    stages: list[str] = []
    request = pb.CheckLabelsRequest(label_version=faulty)
    with pytest.raises(AtlasError, match="MiB of memory") as caught:
        checking.check_labels(case.storage, MemoryGate(2**20), request, lambda stage, _: stages.append(stage))
    assert caught.value.reason == Reason.VOLUME_TOO_LARGE
    assert stages == ["queued"]

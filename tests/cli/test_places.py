"""Places and findings read as a radiologist says them."""

import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1 import finding_pb2
from abdomenatlas.type.v1.finding_pb2 import Evidence, Finding
from services.cli import places


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("gap_mm", 31.04, "gap 31 mm"),
        ("left_to_liver_mm", 2.96, "left to liver 3 mm"),
        ("extra_ml", 7.238, "extra 7.2 ml"),
        ("leak_ml", 0.104, "leak 0.1 ml"),
        ("surface_mm2", 1609.4, "surface 1,609 mm2"),
        ("overlap_voxels", 132, "overlap 132 voxels"),
        ("gap_slices", 0, "gap 0 slices"),
        ("missing_share", 0.034, "missing 3%"),
        ("roughness_ratio", 9.13, "roughness ratio 9.1"),
        ("pieces", 2, "pieces 2"),
        ("above_femurs_mm", -140.2, "above femurs -140 mm"),
    ],
)
def test_evidence_is_told_with_its_unit(name: str, value: float, told: str) -> None:
    both = Finding(evidence=[Evidence(name=name, value=value), Evidence(name="holes", value=3)])
    assert places.numbers(both) == f"{told}, holes 3"


def test_a_centre_is_told_by_directions() -> None:
    assert places.centre((31.2, -12, 5)) == "R 31, P 12, S 5"
    assert places.centre((-31.2, 12, -5)) == "L 31, A 12, I 5"


def test_a_region_tells_its_cause_and_its_gravest_findings() -> None:
    leak = Finding(
        rule="leak",
        severity=finding_pb2.SEVERITY_WARNING,
        message="5 ml of stomach hang on the rest by a bridge of less than 13 mm.",
        evidence=[Evidence(name="leak_ml", value=5), Evidence(name="bridge_below_mm", value=13)],
    )
    region = pb.AttentionRegion(cause=pb.AttentionRegion.CAUSE_REMOVE, findings=[leak] * 4)
    first, second, *_, last = places.why(region)
    assert first == "the networks doubt that it is here"
    assert second == f"warning (leak): {leak.message} Leak 5 ml, bridge below 13 mm."
    assert (len(places.why(region)), last) == (5, "and 1 more")


def test_a_finding_from_before_its_numbers_were_kept_is_told_without_them() -> None:
    old = Finding(rule="leak", message="5 ml of stomach hang on the rest.")
    region = pb.AttentionRegion(cause=pb.AttentionRegion.CAUSE_PRIOR, findings=[old])
    assert places.why(region) == ["an anatomical rule points here", "leak: 5 ml of stomach hang on the rest."]

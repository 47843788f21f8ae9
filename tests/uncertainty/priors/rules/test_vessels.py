"""Rules on vessels that end too early, with the arithmetic beside it. Voxels are 3 mm, so 27 mm3."""

import pytest

from tests.uncertainty.priors.bodies import (
    body,
    box,
    findings,
    only,
    told,
)


@pytest.mark.parametrize(("top", "missing"), [(375, 0), (345, 0), (339, 2), (321, 8), (270, 25)])
def test_aorta_ends_too_early(top: float, missing: int) -> None:
    """The postcava reaches from 125 to 345 mm, the pancreas (205 mm) and the lungs tell where the aorta must be.

    So it must be seen from the slice at 205 mm to that below 345 mm, on 47 slices: 2 are 4 %, and 6 mm.
    """
    short = box(-12, -25, (125 + top) / 2, 9, 9, (top - 125) / 2)
    found = told(
        only(body(aorta=short), "aorta", "postcava", "pancreas", "lung_left", "lung_right"), "vessel_truncated"
    )
    if not missing:
        assert found == {}
    else:
        assert found[("aorta",)]["missing_mm"] == pytest.approx(3 * missing)
        assert found[("aorta",)]["missing_share"] == pytest.approx(missing / 47)


def test_one_missing_slice_at_the_end_is_no_truncation_one_in_the_middle_is() -> None:
    """1 of 47 slices is 2 %; but no vessel has a gap."""
    end = box(-12, -25, 233.5, 9, 9, 108.5)
    assert told(body(aorta=end), "vessel_truncated") == {}
    parts = (box(-12, -25, 186, 9, 9, 60), box(-12, -25, 312, 9, 9, 63))
    assert told(body(aorta=parts), "vessel_truncated")[("aorta",)]["gap_slices"] == 1


def test_a_vessel_that_is_missing_altogether() -> None:
    found = findings(body(aorta=()), "vessel_truncated")
    assert [finding.organs for finding in found] == [("aorta",)]
    assert found[0].evidence["missing_share"] == 1
    centre = found[0].centre_mm
    assert centre is not None
    assert abs(centre[0] - 18) < 30, "beside the postcava"


def test_the_postcava_may_end_at_the_heart_but_not_below_the_liver() -> None:
    assert told(body(postcava=box(18, -22, 200, 9, 9, 75)), "vessel_truncated") == {}
    found = told(body(postcava=box(18, -22, 170, 9, 9, 45)), "vessel_truncated")
    assert list(found) == [("postcava",)]


def test_the_aorta_may_fork_above_the_end_of_the_postcava() -> None:
    assert told(body(aorta=box(-12, -25, 277, 9, 9, 98)), "vessel_truncated") == {}

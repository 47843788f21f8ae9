"""Rules on volumes, with the arithmetic beside it. Voxels are 3 mm, so 27 mm3."""

import pytest

from tests.uncertainty.priors.bodies import (
    box,
    told,
)


@pytest.mark.parametrize(("half", "is_told"), [(36.0, True), (39.0, False)])
def test_volume_implausible(half: float, is_told: bool) -> None:
    """A liver needs 400 ml: cubes of 72 and 78 mm have 373 and 475 ml."""
    found = told({"liver": (box(0, 0, 201, half, half, half),)}, "volume_implausible")
    assert (("liver",) in found) == is_told
    if is_told:
        assert found[("liver",)] == {"volume_ml": pytest.approx((2 * half) ** 3 / 1000, rel=0.05), "limit_ml": 400.0}


def test_a_volume_may_be_small_at_the_edge_but_not_too_large() -> None:
    assert told({"liver": (box(0, 0, 12, 12, 12, 12),)}, "volume_implausible") == {}
    assert told({"gall_bladder": (box(0, 0, 30, 30, 30, 30),)}, "volume_implausible")[("gall_bladder",)][
        "limit_ml"
    ] == pytest.approx(159)


@pytest.mark.parametrize(("length", "is_told"), [(30, False), (9, True)])
def test_twins_asymmetric(length: float, is_told: bool) -> None:
    """Columns of 60 mm against 60 or 18: a ratio of 1 or 3.3."""
    twins = {"kidney_left": (box(-60, 0, 201, 15, 15, 30),), "kidney_right": (box(60, 0, 201, 15, 15, length),)}
    found = told(twins, "twins_asymmetric")
    assert found == (
        {}
        if not is_told
        else {
            ("kidney_right", "kidney_left"): {
                "ratio": pytest.approx(10 / 3),
                "small_ml": pytest.approx(16.2),
                "large_ml": pytest.approx(54),
            }
        }
    )

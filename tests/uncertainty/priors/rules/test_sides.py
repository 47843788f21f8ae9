"""Rules on left and right, with the arithmetic beside it. Voxels are 3 mm, so 27 mm3."""

import pytest

from tests.uncertainty.priors.bodies import (
    BODY,
    body,
    box,
    told,
)


@pytest.mark.parametrize("pair", ["kidney", "adrenal_gland", "lung", "femur"])
def test_sides_swapped(pair: str) -> None:
    """The liver's centre is 65 mm right of the middle: a kidney at 62 is 3 mm from it, one at -60 is 125 mm."""
    swapped = {f"{pair}_left": BODY[f"{pair}_right"], f"{pair}_right": BODY[f"{pair}_left"]}
    found = told(BODY | swapped, "sides_swapped")
    (evidence,) = found.values()
    assert list(found) == [(f"{pair}_left", f"{pair}_right")]
    right, left = (abs(BODY[f"{pair}_{side}"][0].centre[0] - 65) for side in ("right", "left"))
    assert evidence["left_to_liver_mm"] == pytest.approx(right, abs=1.5)
    assert evidence["right_to_liver_mm"] == pytest.approx(left, abs=1.5)


def test_a_kidney_that_has_sunk_is_on_its_side() -> None:
    """The right kidney in the pelvis is further from the liver than the left one, but not from left to right."""
    sunk = BODY["kidney_right"][0].at(45, 0, 90)
    assert told(body(kidney_right=sunk), "sides_swapped") == {}


def test_twins_overlap() -> None:
    """Two boxes of 12 x 12 x 12 mm that share a slice of 3 mm: 4 x 4 x 1 voxels."""
    twins = {"kidney_left": (box(0, 0, 99, 6, 6, 6),), "kidney_right": (box(9, 0, 99, 6, 6, 6),)}
    assert told(twins, "twins_overlap") == {
        ("kidney_left", "kidney_right"): {"overlap_voxels": 16.0, "overlap_mm3": pytest.approx(16 * 27)}
    }
    assert told(twins | {"kidney_right": (box(12, 0, 99, 6, 6, 6),)}, "twins_overlap") == {}


def test_swallowed() -> None:
    """The left kidney is empty and the spleen covers it; the vessels stand 3 mm right of the middle."""
    eaten = body(kidney_left=(), spleen=(*BODY["spleen"], *BODY["kidney_left"]))
    found = told(eaten, "swallowed")
    assert list(found) == [("spleen", "kidney_left")]
    assert found[("spleen", "kidney_left")]["filled_share"] > 0.6
    assert told(body(kidney_left=()), "swallowed") == {}, "a kidney that was removed"

"""Rules on where an organ lies beside others, with the arithmetic beside it. Voxels are 3 mm, so 27 mm3."""

import numpy as np
import pytest

from tests.uncertainty.priors.bodies import (
    BODY,
    ball,
    body,
    box,
    told,
)


@pytest.mark.parametrize(("gap", "is_apart"), [(12, False), (33, True)])
def test_apart(gap: float, is_apart: bool) -> None:
    """The liver's box ends at R 0; the gall bladder's begins `gap` mm away. The limit is 20 mm."""
    pair = {"liver": (box(-51, 0, 201, 51, 30, 30),), "gall_bladder": (box(gap + 12, 0, 201, 12, 12, 12),)}
    found = told(pair, "apart")
    if is_apart:
        assert found[("gall_bladder", "liver")]["gap_mm"] == pytest.approx(gap, abs=3.01)
    else:
        assert found == {}


def test_a_neighbour_may_go_on_beyond_the_field_of_view() -> None:
    """The liver ends at the bottom of the grid, 12 mm under the gall bladder: it may lie at it further down."""
    pair = {"liver": (box(-51, 0, 15, 51, 30, 15),), "gall_bladder": (box(60, 0, 24, 12, 12, 12),)}
    assert told(pair, "apart") == {}
    higher = {organ: (shapes[0].at(*shapes[0].centre[:2], shapes[0].centre[2] + 60),) for organ, shapes in pair.items()}
    assert list(told(higher, "apart")) == [("gall_bladder", "liver")]


def test_in_thorax() -> None:
    """The liver's top is at 330 mm: a ball of 12 mm radius (7.2 ml) at 380 lies above it by more than 25 mm."""
    stray = (*BODY["colon"], ball(-70, 0, 380, 12))
    found = told(body(colon=stray), "in_thorax")
    assert found[("colon",)]["stray_ml"] == pytest.approx(4 / 3 * np.pi * 12**3 / 1000, rel=0.05)
    assert told(body(colon=(*BODY["colon"], ball(-70, 0, 335, 12))), "in_thorax") == {}


def test_without_the_top_of_the_liver_nothing_is_in_the_thorax() -> None:
    stray = body(colon=(*BODY["colon"], ball(-70, 0, 380, 12)), liver=box(65, 20, 310, 60, 50, 110))
    assert told(stray, "in_thorax") == {}


def test_lung_in_abdomen() -> None:
    low = (*BODY["lung_left"], ball(-75, 0, 150, 12))
    assert told(body(lung_left=low), "lung_in_abdomen")[("lung_left",)]["stray_ml"] == pytest.approx(7.2, rel=0.05)


@pytest.mark.parametrize(("height", "above"), [(18, None), (75, None), (90, 40), (201, 151)])
def test_prostate_astray(height: float, above: float | None) -> None:
    """The femurs end at 50 mm; the prostate may lie up to 30 mm above that."""
    found = told(body(prostate=ball(0, 20, height, 9)), "prostate_astray")
    if above is None:
        assert found == {}
    else:
        assert found[("prostate",)]["above_femurs_mm"] == pytest.approx(above, abs=3)


def test_a_prostate_without_femurs_is_astray_only_if_they_were_looked_for() -> None:
    """As the released case whose 164-voxel prostate lies in the intestine."""
    without: dict[str, tuple[()]] = {"femur_left": (), "femur_right": ()}
    assert told(body(**without), "prostate_astray") == {("prostate",): {"femurs": 0.0}}
    assert told(body(femur_left=None, femur_right=None), "prostate_astray") == {}

"""Rules on surfaces that no organ has, with the arithmetic beside it. Voxels are 3 mm, so 27 mm3."""

import numpy as np
import pytest

from services.uncertainty.priors import catalog
from tests.uncertainty.priors.bodies import (
    BODY,
    anatomy,
    arrays,
    ball,
    body,
    box,
    field_of_view,
    findings,
    only,
)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flat_cut(axis: int) -> None:
    """The half of the liver beyond its middle is missing; the cut has the area of its largest section."""
    masks = arrays(only(BODY, "liver"))
    beyond: list[slice] = [slice(None)] * 3
    beyond[axis] = slice((86, 41, 71)[axis], None)
    section = int(np.take(masks["liver"], (85, 40, 70)[axis], axis).sum()) * 9
    masks["liver"][tuple(beyond)] = 0
    (sign,) = catalog.find(["flat_cut"])[0].rule(anatomy(masks))
    assert sign.evidence["flat_mm2"] == pytest.approx(section, rel=0.1)
    assert sign.region.slices[axis].stop == beyond[axis].start


def test_missing_slices_are_flat_cuts() -> None:
    masks = arrays(only(BODY, "liver"))
    masks["liver"][80:83] = 0
    (sign,) = catalog.find(["flat_cut"])[0].rule(anatomy(masks))
    assert 77 <= sign.region.corner[0] <= 82


@pytest.mark.parametrize("organ", ["liver", "spleen", "kidney_left", "stomach", "pancreas"])
def test_a_cut_by_the_field_of_view_is_no_flat_cut(organ: str) -> None:
    middle = BODY[organ][0].centre[2]
    for grid in (field_of_view(middle - 1.5, 420), field_of_view(0, middle + 1.5)):
        assert findings(only(BODY, organ), "flat_cut", "volume_implausible", "leak", "ragged", grid=grid) == []


@pytest.mark.parametrize(("width", "leaks"), [(4, True), (12, False)])
def test_leak(width: float, leaks: bool) -> None:
    """A ball of 15 mm radius (14 ml) hangs on the spleen by a bar of 8 or of 24 mm."""
    leak = (*BODY["spleen"], box(-68, -40, 265, 21, width, width), ball(-35, -40, 265, 15))
    found = findings(body(spleen=leak), "leak")
    assert len(found) == leaks
    if leaks:
        assert found[0].evidence["leak_ml"] == pytest.approx(14.1, rel=0.3)
        assert found[0].centre_mm == pytest.approx((-35, -40, 265), abs=6)


def test_ragged() -> None:
    """Noise on a third of the voxels near its surface makes the liver's surface several times as large."""
    masks = arrays(only(BODY, "liver"))
    rng = np.random.default_rng(0)
    masks["liver"] &= (rng.random(masks["liver"].shape) > 0.2).astype(np.uint8)
    (sign,) = catalog.find(["ragged"])[0].rule(anatomy(masks))
    assert sign.evidence["roughness_ratio"] > 8


def test_ragged_is_one_for_a_ball() -> None:
    """The area of voxel faces divided by 1.5 is right for a ball: 4 pi r^2."""
    masks = arrays({"liver": (ball(0, 0, 201, 60),)})
    made = anatomy(masks).organs["liver"]
    area = sum(float(planes.sum()) for planes in made.faces_mm2) / 1.5
    assert area == pytest.approx(4 * np.pi * 60**2, rel=0.06)

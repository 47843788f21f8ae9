"""Rules on organs that share voxels, with the arithmetic beside it. Voxels are 3 mm, so 27 mm3."""

import pytest

from tests.uncertainty.priors.bodies import (
    box,
    findings,
    told,
)


@pytest.mark.parametrize("voxels", [1, 2])
def test_forbidden_overlap(voxels: int) -> None:
    """10 voxels at 1.5 mm are 33.75 mm3: one voxel of 27 mm3 is a trace, two are not.

    The liver ends at 114 mm; a column of 3 x 3 mm begins one or two voxels below that.
    """
    column = box(1.5, 1.5, 117 - 1.5 * voxels, 1.5, 1.5, 3 + 1.5 * voxels)
    found = told({"liver": (box(0, 0, 99, 15, 15, 15),), "aorta": (column,)}, "forbidden_overlap")
    expected = {("aorta", "liver"): {"overlap_voxels": 2, "overlap_mm3": pytest.approx(54)}}
    assert found == (expected if voxels == 2 else {})


def test_other_organs_may_overlap() -> None:
    pair = {"liver": (box(0, 0, 99, 15, 15, 15),), "postcava": (box(0, 0, 99, 6, 6, 15),)}
    assert findings(pair, "forbidden_overlap") == []


def test_same_mask() -> None:
    """10 slices and 8 of them: 8 / 10 are shared; of 10 and 5 it is one half, which is not more than one half."""
    bladder = (box(0, 0, 99, 15, 15, 15),)
    copies = {"bladder": bladder, "prostate": (box(0, 0, 96, 15, 15, 12),)}
    assert told(copies, "same_mask")[("bladder", "prostate")]["shared_share"] == pytest.approx(0.8)
    assert told({"bladder": bladder, "prostate": (box(0, 0, 91.5, 15, 15, 7.5),)}, "same_mask") == {}

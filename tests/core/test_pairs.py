"""Kidneys and lungs that a source did not tell apart."""

from pathlib import Path

import numpy as np
import pytest

from services.core import nifti
from services.core.geometry import Geometry
from services.core.pairs import split
from services.synthetic.cases import make_case


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_kidneys_of_a_patient_come_out_as_they_were(seed: int) -> None:
    """Whatever the orientation: the profile draws LPS, RAS and LAS."""
    case = make_case(seed, profile="demo")
    left, right = case.masks["kidney_left"].view(np.uint8), case.masks["kidney_right"].view(np.uint8)
    if not (left.any() and right.any()):
        pytest.skip("this patient lacks a kidney")
    found = split(left | right, case.geometry)
    assert found.left is not None
    assert found.right is not None
    np.testing.assert_array_equal(found.left, left)
    np.testing.assert_array_equal(found.right, right)


def _grid(x_sign: int = -1) -> Geometry:
    matrix = np.diag([2.0 * x_sign, 2.0, 2.0, 1.0])
    matrix[:3, 3] = (-99.0 * x_sign, 0.0, 0.0)
    return Geometry.from_matrix((100, 20, 20), matrix)


def _pair(*ranges: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    mask = np.zeros((20, 20, 100), np.uint8)
    for start, stop in ranges:
        mask[5:15, 5:15, start:stop] = 1
    return mask


@pytest.mark.parametrize(("x_sign", "low_is_left"), [(1, True), (-1, False)])
def test_left_follows_from_the_affine_and_not_from_the_order_of_the_array(x_sign: int, low_is_left: bool) -> None:
    found = split(_pair((10, 30), (70, 85)), _grid(x_sign))
    assert found.left is not None
    assert bool(found.left[:, :, :50].any()) is low_is_left


def test_no_voxel_is_lost() -> None:
    mask = _pair((10, 30), (70, 85))
    mask[0, 0, 12] = mask[19, 19, 80] = 1
    found = split(mask, _grid())
    assert found.left is not None
    assert found.right is not None
    np.testing.assert_array_equal(found.left + found.right, mask)
    assert found.left[19, 19, 80] == 1
    assert found.right[0, 0, 12] == 1
    assert "2 voxels beyond them" in found.note


def test_a_cyst_that_is_larger_than_the_other_kidney_is_not_the_other_kidney() -> None:
    mask = _pair((10, 30), (70, 80))
    mask[16:20, :, 5:40] = 1
    found = split(mask, _grid())
    assert found.left is not None
    assert found.right is not None
    np.testing.assert_array_equal(found.left, _pair((70, 80)))
    assert found.right[16:20].all(axis=(0, 1))[5:40].all()


def test_one_kidney_is_the_one_on_its_side_and_the_other_is_absent() -> None:
    found = split(_pair((10, 30)), _grid())
    assert found.left is not None
    assert found.right is not None
    assert not found.left.any(), "on an LPS-like grid low i is the patient's right"
    np.testing.assert_array_equal(found.right, _pair((10, 30)))


def test_a_fragment_is_not_the_other_organ() -> None:
    mask = _pair((10, 30))
    mask[0, 0, 80] = 1
    found = split(mask, _grid())
    assert found.left is None, "something lies on the other side, too small to be sure of"
    assert found.right is None


@pytest.mark.parametrize("ranges", [((10, 90),), ((45, 55),)])
def test_what_cannot_be_told_apart_stays_unknown(ranges: tuple[tuple[int, int], ...]) -> None:
    found = split(_pair(*ranges), _grid())
    assert (found.left, found.right) == (None, None)
    assert "unknown" in found.note


def _balls(
    *centres: tuple[float, float, float], radius_mm: float = 25, x_sign: int = -1
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], Geometry]:
    """Balls at (x, y, z) mm on a grid of 2 x 2 x 3 mm, 160 x 80 x 80 mm."""
    matrix = np.diag([2.0 * x_sign, 2.0, 3.0, 1.0])
    matrix[:3, 3] = (-79.0 * x_sign, -40.0, -40.0)
    geometry = Geometry.from_matrix((80, 40, 27), matrix)
    k, j, i = np.meshgrid(*map(np.arange, geometry.array_shape), indexing="ij")
    world = np.stack([i, j, k], axis=-1) @ matrix[:3, :3].T + matrix[:3, 3]
    mask = np.zeros(geometry.array_shape, np.uint8)
    for centre in centres:
        mask[np.linalg.norm(world - np.array(centre), axis=-1) <= radius_mm] = 1
    return mask, geometry


@pytest.mark.parametrize("x_sign", [1, -1])
@pytest.mark.parametrize(
    ("bridge", "said"),
    [
        ("corner", "6-connected"),
        ("voxel", "without their outer 2 mm"),
        ("bar", "without their outer 4 mm"),
    ],
)
def test_two_that_touch_are_told_apart(bridge: str, said: str, x_sign: int) -> None:
    """At a corner, by one voxel, by a bar six millimetres thick: not a voxel is lost, each goes to the nearer organ."""
    right, left = _balls((40, 0, 0), x_sign=x_sign)[0], _balls((-40, 0, 0), x_sign=x_sign)[0]
    mask, geometry = right | left, _balls(x_sign=x_sign)[1]
    if bridge == "corner":
        # Two arms that meet at a corner in the middle of the image.
        mask[13, 20, 25:40] = mask[13, 21, 40:55] = 1
    elif bridge == "voxel":
        mask[13, 20, 25:55] = 1
    else:
        mask[12:15, 18:21, 25:55] = 1
    found = split(mask, geometry)
    assert said in found.note
    assert found.left is not None
    assert found.right is not None
    np.testing.assert_array_equal(found.left + found.right, mask)
    assert (found.right[right != 0] == 1).all()
    assert (found.left[left != 0] == 1).all()
    cut = np.flatnonzero(found.left[13, 20] & mask[13, 20]) if bridge != "corner" else np.array([40])
    assert 38 <= (cut.max() if x_sign == 1 else cut.min()) <= 41, "the bridge is cut in the middle"


def test_organs_that_are_grown_together_stay_unknown() -> None:
    """A horseshoe kidney, whose bridge is thicker than what is taken off."""
    mask, geometry = _balls((40, 0, 0), (-40, 0, 0))
    mask[9:18, 14:26, 25:55] = 1
    found = split(mask, geometry)
    assert (found.left, found.right) == (None, None)


def test_the_kidneys_of_a_release_that_touch(real_data: Path) -> None:
    """Real kidneys, joined by a line of voxels, come apart almost as they were."""
    left, right = (
        nifti.read_mask(real_data / f"abdomenatlas_masks9/kidney_{side}.nii.gz") for side in ("left", "right")
    )
    touching = left.voxels | right.voxels
    planes = np.flatnonzero(left.voxels.any(axis=(1, 2)) & right.voxels.any(axis=(1, 2)))
    k = int(planes[len(planes) // 2])
    js = np.flatnonzero(left.voxels[k].any(axis=1) & right.voxels[k].any(axis=1))
    row = int(js[len(js) // 2])
    ends = np.flatnonzero(touching[k, row])
    touching[k, row, ends.min() : ends.max() + 1] = 1
    found = split(touching, left.geometry)
    assert found.left is not None
    assert found.right is not None
    assert "The two touch" in found.note
    np.testing.assert_array_equal(found.left | found.right, touching)
    both = np.count_nonzero(left.voxels & right.voxels)
    assert np.count_nonzero(found.left[left.voxels != 0] == 0) <= both + 20
    assert np.count_nonzero(found.right[right.voxels != 0] == 0) <= both + 20


def test_of_a_pair_that_is_not_there_both_are_absent() -> None:
    found = split(_pair(), _grid())
    assert found.left is not None
    assert not found.left.any()
    assert found.right is not None
    assert not found.right.any()


def test_the_kidneys_of_a_release(real_data: Path) -> None:
    left, right = (
        nifti.read_mask(real_data / f"abdomenatlas_masks9/kidney_{side}.nii.gz") for side in ("left", "right")
    )
    found = split(left.voxels | right.voxels, left.geometry)
    assert found.left is not None
    wrong = np.count_nonzero(found.left != left.voxels) + np.count_nonzero(found.right != right.voxels)
    assert wrong <= 2 * np.count_nonzero(left.voxels & right.voxels) + 20

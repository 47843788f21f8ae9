"""Label files whose header contradicts the CT's."""

from collections.abc import Callable
from itertools import permutations, product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from services.core.alignment import align
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.synthetic.cases import SyntheticCase, make_case

LIVER = "liver"


@pytest.fixture(scope="module")
def case() -> SyntheticCase:
    return make_case(3, profile="training")


def lay(case: SyntheticCase, voxels: npt.NDArray[np.uint8], matrix: npt.NDArray[np.float64], **options: Any) -> Any:
    depth, rows, columns = voxels.shape
    file = Geometry.from_matrix((columns, rows, depth), matrix)
    ct_voxels: Callable[[], npt.NDArray[np.int16]] = options.get("ct_voxels", lambda: case.ct)
    return align(voxels, file, case.geometry, ct_voxels, name="liver.nii.gz", ct_name="volumes/case")


def mask(case: SyntheticCase, organ: str = LIVER) -> npt.NDArray[np.uint8]:
    return case.masks[organ].view(np.uint8)


def flipped(geometry: Geometry, *axes: int) -> npt.NDArray[np.float64]:
    """The header of an array that is flipped along index axes, on the same grid."""
    index = np.eye(4)
    for axis in axes:
        index[axis, axis], index[axis, 3] = -1, geometry.shape[axis] - 1
    return np.asarray(geometry.matrix @ index)


def never() -> npt.NDArray[np.int16]:
    raise AssertionError("the CT was not needed")


def test_equal_headers_change_nothing_and_do_not_ask_the_ct(case: SyntheticCase) -> None:
    laid = lay(case, mask(case), case.geometry.matrix, ct_voxels=never)
    assert laid.note == ""
    np.testing.assert_array_equal(laid.voxels, mask(case))


def test_another_order_of_axes_is_followed(case: SyntheticCase) -> None:
    """RAS against the CT's order, header and array both turned: what a right tool writes."""
    turned = np.ascontiguousarray(mask(case)[:, ::-1, ::-1])
    laid = lay(case, turned, flipped(case.geometry, 0, 1))
    np.testing.assert_array_equal(laid.voxels, mask(case))
    assert "reordered" in laid.note


def test_axes_that_are_exchanged_are_followed(case: SyntheticCase) -> None:
    swap = np.eye(4)[[2, 1, 0, 3]]
    laid = lay(case, np.ascontiguousarray(mask(case).transpose(2, 1, 0)), case.geometry.matrix @ swap, ct_voxels=never)
    np.testing.assert_array_equal(laid.voxels, mask(case))


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_any_order_of_axes_gives_the_same_labels(case: SyntheticCase, axes: tuple[int, int, int]) -> None:
    """48 ways to lay the same mask into an array, each with a header that says so."""
    for flips in product((False, True), repeat=3):
        index = np.zeros((4, 4))
        index[3, 3] = 1
        for new, old in enumerate(axes):  # array axes, (k, j, i)
            index[2 - old, 2 - new] = -1 if flips[new] else 1
            index[2 - old, 3] = mask(case).shape[old] - 1 if flips[new] else 0
        turns = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
        turned = np.ascontiguousarray(mask(case).transpose(axes)[turns])
        laid = lay(case, turned, case.geometry.matrix @ index)
        np.testing.assert_array_equal(laid.voxels, mask(case))


@pytest.mark.parametrize("organ", ["liver", "aorta", "kidney_left"])
def test_an_lps_header_on_an_array_in_the_cts_order_is_not_followed(case: SyntheticCase, organ: str) -> None:
    """The defect of a released case: the header says LPS on the same box, the voxels are those of the RAS array."""
    laid = lay(case, mask(case, organ), flipped(case.geometry, 0, 1))
    np.testing.assert_array_equal(laid.voxels, mask(case, organ))
    assert "was not followed" in laid.note
    assert "spread by" in laid.note


def test_signs_of_another_convention_are_seen_through(case: SyntheticCase) -> None:
    """ITK's LPS matrix written where RAS belongs: x and y of everything negated, origin too."""
    laid = lay(case, mask(case), np.diag([-1.0, -1.0, 1.0, 1.0]) @ case.geometry.matrix)
    np.testing.assert_array_equal(laid.voxels, mask(case))
    assert laid.note


def test_the_origin_of_the_whole_left_after_a_crop_is_seen_through(case: SyntheticCase) -> None:
    matrix = case.geometry.matrix
    matrix[2, 3] += 246
    laid = lay(case, mask(case), matrix)
    np.testing.assert_array_equal(laid.voxels, mask(case))
    assert "246 mm off" in laid.note


@pytest.mark.parametrize("organ", ["liver", "spleen", "aorta", "kidney_left", "pancreas"])
@pytest.mark.parametrize("axis", [0, 2])
def test_a_mask_of_another_patient_is_refused_although_its_shape_fits(
    case: SyntheticCase, organ: str, axis: int
) -> None:
    """Its header puts it outside the CT, and what lies under its array is no one tissue."""
    other = make_case(4, profile="training")
    foreign = np.zeros_like(mask(case))
    part = tuple(slice(0, min(sizes)) for sizes in zip(foreign.shape, other.ct.shape, strict=True))
    foreign[part] = mask(other, organ)[part]
    assert foreign.any()
    matrix = case.geometry.matrix
    matrix[axis, 3] += 600
    with pytest.raises(
        AtlasError, match=r"its header puts 100% .* outside the CT, and the HU in it spread by"
    ) as caught:
        lay(case, foreign, matrix)
    assert caught.value.reason == Reason.GEOMETRY_MISMATCH
    assert lay(case, mask(case, organ), matrix).voxels.any(), "its own is still taken"


def test_a_mask_outside_the_ct_that_is_too_small_to_judge_is_refused(case: SyntheticCase) -> None:
    few = np.zeros_like(mask(case))
    few[5, 5, 5] = 1
    matrix = case.geometry.matrix
    matrix[2, 3] += 900
    with pytest.raises(AtlasError, match="by an unknown amount read as its array"):
        lay(case, few, matrix)


def test_less_than_half_a_voxel_changes_nothing(case: SyntheticCase) -> None:
    matrix = case.geometry.matrix
    matrix[0, 3] += 0.7
    laid = lay(case, mask(case), matrix, ct_voxels=never)
    np.testing.assert_array_equal(laid.voxels, mask(case))
    assert "0.70 mm" in laid.note


def test_what_the_ct_cannot_decide_is_refused_with_both_readings(case: SyntheticCase) -> None:
    matrix = case.geometry.matrix
    matrix[0, 3] += 30
    noise = np.random.default_rng(0).normal(0, 50, case.ct.shape).astype(np.int16)
    with pytest.raises(AtlasError, match=r"Neither reading is certain.*its array.*its header") as caught:
        lay(case, mask(case), matrix, ct_voxels=lambda: noise)
    assert caught.value.reason == Reason.GEOMETRY_MISMATCH
    assert caught.value.field == "liver.nii.gz"


def test_a_header_that_fits_is_followed_where_the_ct_cannot_decide(case: SyntheticCase) -> None:
    few = np.zeros_like(mask(case))
    few[5, 5, 5] = 1
    laid = lay(case, few, flipped(case.geometry, 0))
    assert laid.voxels[5, 5, case.geometry.shape[0] - 6] == 1
    assert "does not tell" in laid.note


@pytest.mark.parametrize("change", ["spacing", "shape", "rotation"])
def test_another_grid_is_refused(case: SyntheticCase, change: str) -> None:
    matrix, voxels = case.geometry.matrix, mask(case)
    if change == "spacing":
        matrix[:3, 2] *= 1.01
    elif change == "shape":
        voxels = np.ascontiguousarray(voxels[3:])
    else:
        angle = np.radians(5)
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        matrix = turn @ matrix
    with pytest.raises(AtlasError) as caught:
        lay(case, voxels, matrix)
    assert caught.value.reason == Reason.GEOMETRY_MISMATCH

"""Synthetic patients: silent as they are, wherever the scan ends; each planted error is found by the rule for it."""

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from services.core.boxes import crop
from services.core.geometry import Geometry
from services.synthetic.cases import SyntheticCase, make_case
from services.uncertainty.priors.anatomy import Anatomy
from services.uncertainty.priors.check import check
from services.uncertainty.priors.findings import Finding

Mask = npt.NDArray[np.uint8]
Masks = dict[str, Mask]
SEEDS = (3, 4)


@cache
def case(seed: int) -> SyntheticCase:
    """Orientation and spacing are drawn with the patient."""
    return make_case(seed, profile="demo")


def masks_of(seed: int) -> Masks:
    return {organ: mask.astype(np.uint8) for organ, mask in case(seed).masks.items()}


def findings(masks: Masks, geometry: Geometry) -> list[Finding]:
    return list(check(Anatomy.of({organ: crop(mask) for organ, mask in masks.items()}, geometry)))


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_true_label_set_is_silent(seed: int) -> None:
    assert [(f.rule, f.message) for f in findings(masks_of(seed), case(seed).geometry)] == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("share", [0.4, 0.6])
@pytest.mark.parametrize("is_upper", [False, True])
def test_a_field_of_view_that_cuts_organs_is_no_error(seed: int, axis: int, share: float, is_upper: bool) -> None:
    """Along any axis of the array, either side of a plane through the body."""
    masks, geometry = masks_of(seed), case(seed).geometry
    middle = round(share * geometry.array_shape[axis])
    part: list[slice] = [slice(None)] * 3
    part[axis] = slice(middle, None) if is_upper else slice(middle)
    matrix = geometry.matrix
    matrix[:3, 3] += matrix[:3, 2 - axis] * (middle if is_upper else 0)
    cut = {organ: np.ascontiguousarray(mask[tuple(part)]) for organ, mask in masks.items()}
    shape = next(iter(cut.values())).shape[::-1]
    found = findings(cut, Geometry.from_matrix((shape[0], shape[1], shape[2]), matrix))
    assert [(f.rule, f.message) for f in found] == []


def swap(masks: Masks, geometry: Geometry) -> None:
    masks["kidney_left"], masks["kidney_right"] = masks["kidney_right"], masks["kidney_left"]


def along(geometry: Geometry, code: str) -> tuple[int, bool]:
    """The array axis that runs along one of RAS, and whether forwards."""
    axes = geometry.orientation[::-1]
    pair = {"R": "RL", "A": "AP", "S": "SI"}[code]
    axis = next(axis for axis in range(3) if axes[axis] in pair)
    return axis, axes[axis] == code


def clear(mask: Mask, geometry: Geometry, code: str, share: float) -> None:
    """Empty the part of a mask that lies furthest along R, A or S."""
    axis, forward = along(geometry, code)
    at = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
    cut = at[-round(share * len(at)) :] if forward else at[: round(share * len(at))]
    mask.swapaxes(0, axis)[cut] = 0


def end_aorta(masks: Masks, geometry: Geometry) -> None:
    clear(masks["aorta"], geometry, "S", 0.3)


def interrupt_postcava(masks: Masks, geometry: Geometry) -> None:
    axis, _ = along(geometry, "S")
    at = np.flatnonzero(masks["postcava"].any(axis=tuple({0, 1, 2} - {axis})))
    masks["postcava"].swapaxes(0, axis)[at[len(at) // 2 : len(at) // 2 + 2]] = 0


def lose_lobe(masks: Masks, geometry: Geometry) -> None:
    clear(masks["liver"], geometry, "R", 0.4)


def lose_pole(masks: Masks, geometry: Geometry) -> None:
    clear(masks["kidney_left"], geometry, "S", 0.35)


def merge_kidney(masks: Masks, geometry: Geometry) -> None:
    masks["spleen"] |= masks["kidney_left"]
    masks["kidney_left"][...] = 0


def scatter(masks: Masks, geometry: Geometry) -> None:
    spleen, liver = masks["spleen"], np.argwhere(masks["liver"]).mean(axis=0).round().astype(int)
    k, j, i = (slice(c - 2, c + 3) for c in liver)
    spleen[k, j, i] = 1


def grow_liver_into_left_kidney(masks: Masks, geometry: Geometry) -> None:
    masks["liver"] |= masks["kidney_left"]


def hollow_out(masks: Masks, geometry: Geometry) -> None:
    masks["spleen"] ^= ndimage.binary_erosion(masks["spleen"], iterations=3).astype(np.uint8)


def copy_mask(masks: Masks, geometry: Geometry) -> None:
    masks["stomach"] = masks["spleen"].copy()


def move_gall_bladder(masks: Masks, geometry: Geometry) -> None:
    """Where it is in a mirror: the affine of one file has the wrong sign."""
    axis, _ = along(geometry, "R")
    masks["gall_bladder"] = np.ascontiguousarray(np.flip(masks["gall_bladder"], axis))


def roughen(masks: Masks, geometry: Geometry) -> None:
    masks["liver"] &= (np.random.default_rng(0).random(masks["liver"].shape) > 0.25).astype(np.uint8)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("plant", "rule", "organ"),
    [
        (swap, "sides_swapped", "kidney_left"),
        (end_aorta, "vessel_truncated", "aorta"),
        (interrupt_postcava, "vessel_truncated", "postcava"),
        (lose_lobe, "flat_cut", "liver"),
        (lose_pole, "flat_cut", "kidney_left"),
        (merge_kidney, "swallowed", "spleen"),
        (scatter, "in_pieces", "spleen"),
        (grow_liver_into_left_kidney, "forbidden_overlap", "liver"),
        (hollow_out, "hollow", "spleen"),
        (copy_mask, "same_mask", "stomach"),
        (move_gall_bladder, "out_of_order", "gall_bladder"),
        (roughen, "ragged", "liver"),
    ],
)
def test_a_planted_error_is_found(seed: int, plant: Callable[[Masks, Geometry], None], rule: str, organ: str) -> None:
    """By the rule for it, and the region holds or touches what was changed."""
    masks, geometry = masks_of(seed), case(seed).geometry
    before = {name: mask.copy() for name, mask in masks.items()}
    plant(masks, geometry)
    found = [f for f in findings(masks, geometry) if f.rule == rule and organ in f.organs]
    assert found
    changed = np.any([masks[name] != before[name] for name in masks], axis=0)
    # What is missing lies beside the region, often beyond its box.
    near = ndimage.binary_dilation(found[0].region.whole(changed.shape), np.ones((3, 3, 3)))
    assert (changed & near).any()

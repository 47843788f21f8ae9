"""Left and right out of masks in which a source did not tell the two organs of a pair apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.core.boxes import Boxed, Mask
from services.core.components import components
from services.core.geometry import Geometry
from services.core.touching import eroded, grow_apart

_ONE = np.uint8(1)
_MOST_COMPONENTS = 8
_LEAST_SHARE = 0.1
"""A component smaller than this share of the largest is a fragment of one of the two, and not the other organ."""
_LEAST_APART_MM = 30.0
"""Distance between left and right, or of a single organ from the middle of the image, that leaves no doubt."""
_TAKEN_OFF_MM = (2.0, 4.0)
"""How much is taken off two organs that touch, to see whether they come apart."""
_LEAST_CORE = 0.25
"""Cores that hold less of the mask than this, together, tell nothing of where the two organs are."""


@dataclass(frozen=True)
class Split:
    """The two organs of a pair: uint8 masks (k, j, i), 0 or 1, whose union is the mask that was split.

    `note` says what was done, for the record. Where the sides are not certain, `left` and `right` are None and the note
    says why.
    """

    left: Mask | None
    right: Mask | None
    note: str


def split(mask: Mask, geometry: Geometry) -> Split:
    """Split the mask (k, j, i), 0/1, of a pair on `geometry` into its left and its right organ.

    One organ is the largest 26-connected component, the other the largest that lies well beside it, and not above it as
    a cyst of its own might; which is left follows from the affine. Voxels beyond them go to the organ whose centre is
    nearer, so that none is lost. One component that lies clearly on one side of the image is the only one there is.

    One that reaches over both sides, or lies near the middle, may be two that touch. Then 6-connected components are
    looked at, and after them what is left when 2 mm, and at last 4 mm, are taken off all around: if that makes two that
    hold a quarter of the mask, the other voxels go to the part that is nearer, in mm, and to the larger one if both are
    as near. Else it is not split.
    """
    found = components(mask, most=_MOST_COMPONENTS)
    if not found:
        return Split(mask, mask, "Neither of the two is there.")
    if two := _two(found, geometry):
        return _apart(mask, geometry, *two, "Split into its largest components")
    alone = _single(mask, geometry, found[0])
    return alone if alone.left is not None else _touching(mask, geometry) or alone


def _touching(mask: Mask, geometry: Geometry) -> Split | None:
    """The two organs of a pair that touch, if they come apart."""
    if two := _two(components(mask, most=_MOST_COMPONENTS, corners=False), geometry):
        said = "The two touch at edges or corners of voxels; split into 6-connected components"
        return _apart(mask, geometry, *grow_apart(mask, *two, geometry.spacing_mm, _TAKEN_OFF_MM[0]), said)
    for taken_off_mm in _TAKEN_OFF_MM:
        core = eroded(mask, geometry.spacing_mm, taken_off_mm)
        two = _two(components(core, most=_MOST_COMPONENTS), geometry)
        if two and two[0].count + two[1].count >= _LEAST_CORE * np.count_nonzero(mask):
            said = f"The two touch; split where they come apart without their outer {taken_off_mm:.0f} mm"
            return _apart(mask, geometry, *grow_apart(mask, *two, geometry.spacing_mm, 2 * taken_off_mm), said)
    return None


def _two(found: Sequence[Boxed], geometry: Geometry) -> tuple[Boxed, Boxed] | None:
    """The two organs among components, the largest first, if there are two that lie beside each other."""
    if not found:
        return None
    middle_x = _centre_mm(found[0], geometry)[0]
    for second in found[1:]:
        is_organ = second.count >= _LEAST_SHARE * found[0].count
        if is_organ and abs(middle_x - _centre_mm(second, geometry)[0]) >= _LEAST_APART_MM:
            return found[0], second
    return None


def _apart(mask: Mask, geometry: Geometry, one: Boxed, two: Boxed, said: str) -> Split:
    one_mm, two_mm = _centre_mm(one, geometry), _centre_mm(two, geometry)
    rest = mask.copy()
    for organ in (one, two):
        rest[organ.slices] &= organ.voxels ^ _ONE
    is_one = np.zeros_like(mask)
    is_one[one.slices] = one.voxels
    left_out = 0
    for k in np.flatnonzero(rest.any(axis=(1, 2))):
        points = _world(rest[k], int(k), geometry)
        nearer_one = np.linalg.norm(points - one_mm, axis=1) <= np.linalg.norm(points - two_mm, axis=1)
        is_one[k][rest[k] != 0] = nearer_one
        left_out += len(points)
    is_two = mask & (is_one ^ _ONE)
    note = f"{said}; left and right follow from the affine."
    if left_out:
        note += f" {left_out} voxels beyond them went to the nearer one."
    # World x grows to the right of the patient.
    return Split(is_two, is_one, note) if one_mm[0] > two_mm[0] else Split(is_one, is_two, note)


def _single(mask: Mask, geometry: Geometry, largest: Boxed) -> Split:
    """One organ of the pair, if all of it lies on one side of the image."""
    centre_x = float(geometry.corners_mm()[:, 0].mean())
    mean_x = _centre_mm(largest, geometry)[0] - centre_x
    low, high = (x - centre_x for x in _reach_mm(mask, geometry))
    if abs(mean_x) < _LEAST_APART_MM or (low < -_LEAST_APART_MM / 2 and high > _LEAST_APART_MM / 2):
        return Split(None, None, "The two cannot be told apart, so both are unknown: they touch, or lie in the middle.")
    none, side = np.zeros_like(mask), "right" if mean_x > 0 else "left"
    note = f"Only one is there; it lies {abs(mean_x):.0f} mm {side} of the middle of the image."
    return Split(none, mask, note) if side == "right" else Split(mask, none, note)


def _centre_mm(box: Boxed, geometry: Geometry) -> npt.NDArray[np.float64]:
    """Centre of mass, RAS mm."""
    axes = [np.arange(n) + c for n, c in zip(box.voxels.shape, box.corner, strict=True)]
    sums = [
        box.voxels.sum(axis=tuple(other for other in range(3) if other != axis), dtype=np.int64) for axis in range(3)
    ]
    index = np.array([float((n * a).sum() / n.sum()) for n, a in zip(sums, axes, strict=True)])
    return np.asarray(geometry.matrix[:3, :3] @ index[::-1] + geometry.matrix[:3, 3])


def _reach_mm(mask: Mask, geometry: Geometry) -> tuple[float, float]:
    """Least and greatest world x of the voxel centres of a mask."""
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    ends = [(x.min(), x.max()) for k in planes if len(x := _world(mask[k], int(k), geometry)[:, 0])]
    return float(min(low for low, _ in ends)), float(max(high for _, high in ends))


def _world(plane: Mask, k: int, geometry: Geometry) -> npt.NDArray[np.float64]:
    """RAS mm of the voxels of 1 in plane k, shape (n, 3)."""
    j, i = np.nonzero(plane)
    return np.asarray(np.stack([i, j, np.full(len(i), k)], axis=1) @ geometry.matrix[:3, :3].T + geometry.matrix[:3, 3])

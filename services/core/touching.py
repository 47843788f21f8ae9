"""Taking off the surface of a mask, and giving it back to the parts that it fell into."""

from itertools import groupby, product
from math import sqrt

import numpy as np

from services.core.boxes import Boxed, Mask, crop
from services.core.geometry import Triple


def eroded(mask: Mask, spacing_mm: Triple, reach_mm: float) -> Mask:
    """The voxels of a mask (k, j, i), 0/1, that lie further than `reach_mm` inside it along each axis.

    At least one voxel is taken off at each side, so that it works on thick slices too; what lies beyond the array
    counts as outside. `spacing_mm` is along i, j and k.
    """
    for axis, spacing in enumerate(reversed(spacing_mm)):
        left = mask.copy()
        for step in range(1, max(1, round(reach_mm / spacing)) + 1):
            low, high = ((slice(None),) * axis + (part,) for part in (slice(None, -step), slice(step, None)))
            left[high] &= mask[low]
            left[low] &= mask[high]
            left[(slice(None),) * axis + (slice(None, step),)] = 0
            left[(slice(None),) * axis + (slice(-step, None),)] = 0
        mask = left
    return mask


def grow_apart(mask: Mask, one: Boxed, two: Boxed, spacing_mm: Triple, reach_mm: float) -> tuple[Boxed, Boxed]:
    """Two parts of a mask (k, j, i), 0/1, with those of its voxels that lie at most `reach_mm` from them.

    A voxel goes to the part of which a voxel is nearest, centre to centre; to `one` if both are as near. `spacing_mm`
    is along i, j and k.
    """
    box = crop(mask)
    spacing = tuple(reversed(spacing_mm))
    # The rim spares a test at every step whether it leaves the box.
    rim = tuple(int(reach_mm / size) for size in spacing)
    labels = np.zeros([n + 2 * r for n, r in zip(box.voxels.shape, rim, strict=True)], np.uint8)
    for label, part in ((1, one), (2, two)):
        start = [p - b + r for p, b, r in zip(part.corner, box.corner, rim, strict=True)]
        view = labels[tuple(slice(s, s + n) for s, n in zip(start, part.voxels.shape, strict=True))]
        view[part.voxels != 0] = label
    seeds, flat = labels.reshape(-1), np.array([labels.shape[1] * labels.shape[2], labels.shape[2], 1])
    inner = labels[tuple(slice(r, n - r) for r, n in zip(rim, labels.shape, strict=True))]
    left = (np.argwhere((box.voxels != 0) & (inner == 0)) + rim) @ flat
    grown: list[tuple[np.ndarray[tuple[int], np.dtype[np.int64]], int]] = []
    for steps in _rings(spacing, rim, reach_mm):
        near = np.zeros(len(left), np.uint8)
        for step in steps:
            found = seeds[left + int(np.dot(step, flat))]
            near = np.where((found == 1) | (near == 1), 1, np.maximum(found, near)).astype(np.uint8)
        grown += [(left[near == label], label) for label in (1, 2)]
        left = left[near == 0]
    for places, label in grown:
        seeds[places] = label
    parts = [crop((inner == label).view(np.uint8), box.corner) for label in (1, 2)]
    return parts[0], parts[1]


def _rings(spacing: tuple[float, ...], rim: tuple[int, ...], reach_mm: float) -> list[list[tuple[int, ...]]]:
    """Steps (k, j, i) of up to `reach_mm`, those of one length together, the shortest first."""
    steps = product(*(range(-r, r + 1) for r in rim))
    lengths = [(round(sqrt(sum((n * s) ** 2 for n, s in zip(step, spacing, strict=True))), 6), step) for step in steps]
    within = sorted((length, step) for length, step in lengths if 0 < length <= reach_mm)
    return [[step for _, step in ring] for _, ring in groupby(within, key=lambda entry: entry[0])]

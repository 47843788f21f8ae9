"""HD95: the distance within which 95 % of each of two surfaces lies from the other one, exact.

Corners of a surface are kept in small blocks with the box that holds them. For the corners of one block only those
blocks of the other surface matter that can hold the nearest corner, which bounds of the boxes tell; no distance map
over the volume is made, and far surfaces cost little more than near ones.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.geometry import Triple
from services.core.metrics.elements import element_areas_mm2
from services.core.metrics.pair import Mask, Pair
from services.core.metrics.spacing import require_spacing
from services.core.metrics.surface import Surface, neighbourhood

_SHARE = 0.95
_BLOCK_ROWS = 8
_BLOCK_COLUMNS = 16


def hd95_mm(first: Mask, second: Mask, spacing_mm: Triple) -> float:
    """95th percentile of the distances between the surfaces of two masks (k, j, i), the larger of both directions.

    Weighted by area, as in surface-distance (`compute_robust_hausdorff`). NaN if both masks are empty, infinite if one
    is. `spacing_mm` is along i, j and k, as in `Geometry.spacing_mm`.
    """
    pair = Pair.of(first, second)
    require_spacing(spacing_mm)
    if pair.both_empty or pair.one_empty:
        return float("nan") if pair.both_empty else float("inf")
    return hd95_mm_of(Surface.of(pair.first), Surface.of(pair.second), spacing_mm)


def hd95_mm_of(first: Surface, second: Surface, spacing_mm: Triple) -> float:
    """`hd95_mm` of two surfaces on one grid, neither empty."""
    areas = element_areas_mm2(spacing_mm)
    sizes = np.array(spacing_mm[::-1], np.float64)
    a, begins_a, boxes_a, areas_a = _blocks(first.voxels, first.corners, areas)
    b, begins_b, boxes_b, areas_b = _blocks(second.voxels, second.corners, areas)
    there = _squared_distances(a, begins_a, boxes_a, b, begins_b, boxes_b, sizes)
    back = _squared_distances(b, begins_b, boxes_b, a, begins_a, boxes_a, sizes)
    return max(_percentile_mm(there, areas_a), _percentile_mm(back, areas_b))


def _percentile_mm(squared_mm2: npt.NDArray[np.float64], areas: npt.NDArray[np.float64]) -> float:
    order = np.argsort(squared_mm2, kind="stable")
    covered = np.cumsum(areas[order])
    index = int(np.searchsorted(covered / covered[-1], _SHARE))
    return float(np.sqrt(squared_mm2[order[min(index, len(order) - 1)]]))


@njit(nogil=True, cache=True)
def _blocks(voxels, corners, areas):  # type: ignore[no-untyped-def]
    """The set corners (3, n) as k, j and x, block after block; where each block begins; its box (block, 6); areas."""
    depth, height, words = corners.shape
    columns = 64 // _BLOCK_COLUMNS
    blocks_j, blocks_x = (height + _BLOCK_ROWS - 1) // _BLOCK_ROWS, words * columns
    counts = np.zeros(((depth + _BLOCK_ROWS - 1) // _BLOCK_ROWS * blocks_j * blocks_x) + 1, np.int64)
    mask = np.uint64((1 << _BLOCK_COLUMNS) - 1)
    # First how many there are in each, then the corners themselves.
    for k in range(depth):
        for j in range(height):
            base = (k // _BLOCK_ROWS * blocks_j + j // _BLOCK_ROWS) * blocks_x
            for w in range(words):
                word = corners[k, j, w]
                if word == 0:
                    continue
                for column in range(columns):
                    part = (word >> np.uint64(column * _BLOCK_COLUMNS)) & mask
                    while part != 0:
                        part &= part - np.uint64(1)
                        counts[base + w * columns + column + 1] += 1
    starts = np.cumsum(counts)
    free = starts[:-1].copy()
    places, weights = np.empty((3, starts[-1])), np.empty(starts[-1])
    for k in range(depth):
        for j in range(height):
            base = (k // _BLOCK_ROWS * blocks_j + j // _BLOCK_ROWS) * blocks_x
            for w in range(words):
                word = corners[k, j, w]
                x = 64 * w
                while word != 0:
                    while word & np.uint64(1) == 0:
                        word >>= np.uint64(1)
                        x += 1
                    block = base + x // _BLOCK_COLUMNS
                    at = free[block]
                    free[block] += 1
                    places[0, at], places[1, at], places[2, at] = k, j, x
                    weights[at] = areas[neighbourhood(voxels, k, j, x)]
                    word >>= np.uint64(1)
                    x += 1
    used = np.flatnonzero(counts[1:])
    begins, boxes = np.empty(len(used) + 1, np.int64), np.empty((len(used), 6))
    begins[len(used)] = starts[-1]
    for index in range(len(used)):
        first, last = starts[used[index]], starts[used[index] + 1]
        begins[index] = first
        for axis in range(3):
            boxes[index, axis] = places[axis, first:last].min()
            boxes[index, 3 + axis] = places[axis, first:last].max()
    return places, begins, boxes, weights


@njit(nogil=True, cache=True, fastmath={"nnan", "nsz"})
def _nearest(places, first, last, place, sizes):  # type: ignore[no-untyped-def]
    """Least squared distance from `place` to places[:, first:last]; these flags let it be vectorised, and no more."""
    best = np.inf
    for at in range(first, last):
        k, j, x = places[0, at] - place[0], places[1, at] - place[1], places[2, at] - place[2]
        best = min(best, (k * sizes[0]) ** 2 + (j * sizes[1]) ** 2 + (x * sizes[2]) ** 2)
    return best


@njit(nogil=True, cache=True)
def _bounds(box, others, sizes):  # type: ignore[no-untyped-def]
    """Squared distances that no two places in `box` and in each of the `others` can be below, and above."""
    low, high = np.zeros(len(others)), np.zeros(len(others))
    for axis in range(3):
        for other in range(len(others)):
            before, after = box[axis] - others[other, 3 + axis], others[other, axis] - box[3 + axis]
            low[other] += (max(before, after, 0) * sizes[axis]) ** 2
            high[other] += (min(before, after) * sizes[axis]) ** 2
    return low, high


@njit(nogil=True, cache=True)
def _squared_distances(places, begins, boxes, others, other_begins, other_boxes, sizes):  # type: ignore[no-untyped-def]
    """Squared distance in mm^2 of every corner to the nearest one of the other surface."""
    squared = np.empty(places.shape[1])
    for block in range(len(boxes)):
        low, high = _bounds(boxes[block], other_boxes, sizes)
        near = np.flatnonzero(low <= high.min())
        near = near[np.argsort(low[near])]
        for at in range(begins[block], begins[block + 1]):
            place = places[:, at].copy()
            best = np.inf
            for other in near:
                if low[other] >= best:
                    break
                least = 0.0
                for axis in range(3):
                    here, box = place[axis], other_boxes[other]
                    least += (max(box[axis] - here, here - box[3 + axis], 0) * sizes[axis]) ** 2
                if least < best:
                    best = min(best, _nearest(others, other_begins[other], other_begins[other + 1], place, sizes))
            squared[at] = best
    return squared

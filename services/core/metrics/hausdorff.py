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
    """The set corners (n, 3) as (k, j, x), block after block; where each block begins; its box (block, 6); areas."""
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
    points, weights = np.empty((starts[-1], 3), np.int64), np.empty(starts[-1])
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
                    points[at, 0], points[at, 1], points[at, 2] = k, j, x
                    weights[at] = areas[neighbourhood(voxels, k, j, x)]
                    word >>= np.uint64(1)
                    x += 1
    used = np.flatnonzero(counts[1:])
    begins, boxes = np.empty(len(used) + 1, np.int64), np.empty((len(used), 6), np.int64)
    begins[len(used)] = starts[-1]
    for index in range(len(used)):
        first, last = starts[used[index]], starts[used[index] + 1]
        begins[index] = first
        for axis in range(3):
            low, high = points[first, axis], points[first, axis]
            for at in range(first, last):
                low, high = min(low, points[at, axis]), max(high, points[at, axis])
            boxes[index, axis], boxes[index, 3 + axis] = low, high
    return points, begins, boxes, weights


@njit(nogil=True, cache=True)
def _squared_distances(points, begins, boxes, others, other_begins, other_boxes, sizes):  # type: ignore[no-untyped-def]
    """Squared distance in mm^2 of every corner to the nearest one of the other surface."""
    squared = np.empty(len(points))
    near, bounds = np.empty(len(other_boxes), np.int64), np.empty(len(other_boxes))
    for block in range(len(boxes)):
        # No corner of this block is further than this from the other surface.
        reach = np.inf
        for other in range(len(other_boxes)):
            low, high = 0.0, 0.0
            for axis in range(3):
                gap = max(
                    boxes[block, axis] - other_boxes[other, 3 + axis], other_boxes[other, axis] - boxes[block, 3 + axis]
                )
                span = max(
                    boxes[block, 3 + axis] - other_boxes[other, axis], other_boxes[other, 3 + axis] - boxes[block, axis]
                )
                low += (max(gap, 0) * sizes[axis]) ** 2
                high += (span * sizes[axis]) ** 2
            bounds[other] = low
            reach = min(reach, high)
        count = 0
        for other in range(len(other_boxes)):
            if bounds[other] <= reach:
                near[count] = other
                count += 1
        nearest = others[other_begins[near[0]]]
        for at in range(begins[block], begins[block + 1]):
            k, j, x = points[at]
            # What was nearest to the last corner is not far from this one.
            best = (
                ((nearest[0] - k) * sizes[0]) ** 2
                + ((nearest[1] - j) * sizes[1]) ** 2
                + ((nearest[2] - x) * sizes[2]) ** 2
            )
            for n in range(count):
                other = near[n]
                low = 0.0
                for axis in range(3):
                    here = points[at, axis]
                    low += (
                        max(other_boxes[other, axis] - here, here - other_boxes[other, 3 + axis], 0) * sizes[axis]
                    ) ** 2
                if low >= best:
                    continue
                for candidate in range(other_begins[other], other_begins[other + 1]):
                    point = others[candidate]
                    distance = (
                        ((point[0] - k) * sizes[0]) ** 2
                        + ((point[1] - j) * sizes[1]) ** 2
                        + ((point[2] - x) * sizes[2]) ** 2
                    )
                    if distance < best:
                        best, nearest = distance, point
            squared[at] = best
    return squared

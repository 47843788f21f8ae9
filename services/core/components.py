"""The connected components of a mask, found on runs of voxels along i instead of on voxels.

A run takes 16 bytes, so the work takes a small part of the mask's own memory, and 8 bytes a voxel if every second voxel
is set. No axis may be longer than `MAX_AXIS_VOXELS`, which fits int16.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.boxes import EMPTY, Boxed, Mask, crop


@dataclass(frozen=True)
class Runs:
    """A mask as runs along i, in C order, each with the number of its component.

    Runs `rows[r]` to `rows[r + 1]` lie in row r = k * height + j and hold the voxels `begin` to `end` - 1. Components
    are numbered from 0 in the order of their first voxels; there are `count`.
    """

    height: int
    rows: npt.NDArray[np.int64]
    begin: npt.NDArray[np.int16]
    end: npt.NDArray[np.int16]
    component: npt.NDArray[np.int32]
    count: int


def labelled_runs(mask: Mask, *, corners: bool = True) -> Runs:
    """The runs of a mask (k, j, i) and the components that they make up, for measuring many components in one pass.

    Voxels that touch at corners or edges only belong together unless `corners` is False: then components are
    6-connected, as the background of 26-connected masks is.
    """
    mask = np.ascontiguousarray(mask)
    rows = _row_starts(mask)
    return numbered(mask.shape[1], rows, *_runs(mask, rows), corners=corners)


def numbered(
    height: int,
    rows: npt.NDArray[np.int64],
    begin: npt.NDArray[np.int16],
    end: npt.NDArray[np.int16],
    *,
    corners: bool = True,
) -> Runs:
    """Runs that were found elsewhere, as `Runs` has them, with the components that they make up."""
    parent = _joined(((len(rows) - 1) // max(height, 1), height), rows, begin, end, corners)
    roots = parent == np.arange(len(parent))
    numbers = (np.cumsum(roots, dtype=np.int32) - np.int32(1))[parent]
    return Runs(height, rows, begin, end, numbers, int(np.count_nonzero(roots)))


def largest_component(mask: Mask | Boxed, orientation: str = "RAS") -> Boxed:
    """The largest 26-connected component of a mask (k, j, i), 0/1 in its smallest box; empty if the mask is.

    Of equal ones the first stays: the one whose first voxel comes first when x is the slowest axis and z the fastest,
    x running to the right, y to the front and z to the head. That is the C order of the arrays (x, y, z) on which
    AbdomenAtlas was made, and because it is an order in the patient it does not change when a volume is re-oriented.
    `orientation` says where i, j and k of the mask run to, as `Geometry.orientation` does.
    """
    box = mask if isinstance(mask, Boxed) else crop(np.ascontiguousarray(mask))
    part = np.ascontiguousarray(box.voxels)
    rows = _row_starts(part)
    if rows[-1] == 0:
        return EMPTY
    begin, end = _runs(part, rows)
    parent = _joined(part.shape[:2], rows, begin, end, True)
    # An order in the box is the same order in the volume.
    offset, steps = _reading_order(part.shape, orientation)
    root = _largest(part.shape[:2], rows, begin, end, parent, offset, steps)
    k0, k1, j0, j1, i0, i1 = _bounds(part.shape[:2], rows, begin, end, parent, root)
    voxels = np.zeros((k1 - k0, j1 - j0, i1 - i0), np.uint8)
    _fill(voxels, (k0, j0, i0), part.shape[1], rows, begin, end, parent, root)
    k, j, i = box.corner
    return Boxed((k + k0, j + j0, i + i0), voxels)


def components(mask: Mask, *, least_voxels: int = 1, most: int = 256, corners: bool = True) -> list[Boxed]:
    """The components of a mask (k, j, i), 0/1 each in its smallest box, the largest first.

    They are 26-connected, or without `corners` 6-connected, as in `labelled_runs`. Only those of at least
    `least_voxels`, and no more than the `most` largest; equal ones are in C order.
    """
    mask = np.ascontiguousarray(mask)
    rows = _row_starts(mask)
    begin, end = _runs(mask, rows)
    parent = _joined(mask.shape[:2], rows, begin, end, corners)
    sizes = _sizes(begin, end, parent)
    roots = np.flatnonzero(sizes >= max(1, least_voxels))
    found = []
    for root in roots[np.argsort(-sizes[roots], kind="stable")][:most]:
        k0, k1, j0, j1, i0, i1 = _bounds(mask.shape[:2], rows, begin, end, parent, root)
        voxels = np.zeros((k1 - k0, j1 - j0, i1 - i0), np.uint8)
        _fill(voxels, (k0, j0, i0), mask.shape[1], rows, begin, end, parent, root)
        found.append(Boxed((k0, j0, i0), voxels))
    return found


def _reading_order(shape: tuple[int, ...], orientation: str) -> tuple[int, npt.NDArray[np.int64]]:
    """The place of voxel (k, j, i) in the order of `largest_component` is offset + steps . (k, j, i)."""
    # Array axis (2 - index axis) along which x, y and z of the patient run, and whether it runs backwards.
    axes = [next(2 - axis for axis, code in enumerate(orientation) if code in pair) for pair in ("RL", "AP", "SI")]
    offset, steps, step = 0, np.zeros(3, np.int64), 1
    for axis, forward in zip(axes[::-1], "SAR", strict=True):
        is_forward = forward in orientation
        steps[axis] = step if is_forward else -step
        offset += 0 if is_forward else step * (shape[axis] - 1)
        step *= shape[axis]
    return offset, steps


@njit(nogil=True, cache=True)
def _row_starts(mask):  # type: ignore[no-untyped-def]
    """Number of the first run of every row (k, j), and at the end the number of runs."""
    depth, height, width = mask.shape
    starts = np.zeros(depth * height + 1, np.int64)
    for k in range(depth):
        for j in range(height):
            row, present = mask[k, j], np.uint8(0)
            for i in range(width):
                present = np.uint8(present | row[i])
            count = 0
            if present:
                before = False
                for i in range(width):
                    now = row[i] != 0
                    count += now and not before
                    before = now
            starts[k * height + j + 1] = starts[k * height + j] + count
    return starts


@njit(nogil=True, cache=True)
def _runs(mask, rows):  # type: ignore[no-untyped-def]
    """First voxel along i of every run, and the first one after it."""
    depth, height, width = mask.shape
    begin, end = np.empty(rows[-1], np.int16), np.empty(rows[-1], np.int16)
    for k in range(depth):
        for j in range(height):
            row = k * height + j
            i = 0
            for run in range(rows[row], rows[row + 1]):
                while mask[k, j, i] == 0:
                    i += 1
                begin[run] = i
                while i < width and mask[k, j, i] != 0:
                    i += 1
                end[run] = i
    return begin, end


@njit(nogil=True, cache=True)
def _root(parent, run):  # type: ignore[no-untyped-def]
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = parent[run]
    return run


@njit(nogil=True, cache=True)
def _joined(shape, rows, begin, end, corners):  # type: ignore[no-untyped-def]
    """For every run the first run of its component."""
    depth, height = shape
    beside = 1 if corners else 0
    parent = np.arange(rows[-1], dtype=np.int32)
    for k in range(depth):
        for j in range(height):
            row = k * height + j
            if rows[row] == rows[row + 1]:
                continue
            # The rows that were read before this one and touch it.
            for dk, dj in ((0, -1), (-1, 0), (-1, -1), (-1, 1)):
                if k + dk < 0 or not 0 <= j + dj < height or (dk * dj != 0 and not corners):
                    continue
                other = (k + dk) * height + j + dj
                a, b = rows[row], rows[other]
                while a < rows[row + 1] and b < rows[other + 1]:
                    # Half-open runs touch over corners if neither begins after the other's end.
                    if begin[a] < end[b] + beside and begin[b] < end[a] + beside:
                        first, second = _root(parent, a), _root(parent, b)
                        parent[max(first, second)] = min(first, second)
                    if end[a] < end[b]:
                        a += 1
                    else:
                        b += 1
    for run in range(len(parent)):
        parent[run] = parent[parent[run]]
    return parent


@njit(nogil=True, cache=True)
def _sizes(begin, end, parent):  # type: ignore[no-untyped-def]
    """Voxels of every component, at its first run; 0 at all other runs."""
    sizes = np.zeros(len(parent), np.int64)
    for run in range(len(parent)):
        sizes[parent[run]] += end[run] - begin[run]
    return sizes


@njit(nogil=True, cache=True)
def _largest(shape, rows, begin, end, parent, offset, steps):  # type: ignore[no-untyped-def]
    """The first run of the largest component; of equal ones, the one with the first voxel in reading order."""
    depth, height = shape
    sizes = _sizes(begin, end, parent)
    largest = sizes.max()
    best, best_place = -1, np.iinfo(np.int64).max
    for k in range(depth):
        for j in range(height):
            for run in range(rows[k * height + j], rows[k * height + j + 1]):
                if sizes[parent[run]] == largest:
                    i = begin[run] if steps[2] > 0 else end[run] - 1
                    place = offset + steps[0] * k + steps[1] * j + steps[2] * i
                    if place < best_place:
                        best, best_place = parent[run], place
    return best


@njit(nogil=True, cache=True)
def _bounds(shape, rows, begin, end, parent, root):  # type: ignore[no-untyped-def]
    depth, height = shape
    k0, k1, j0, j1, i0, i1 = depth, 0, height, 0, end[root], 0
    for k in range(depth):
        for j in range(height):
            for run in range(rows[k * height + j], rows[k * height + j + 1]):
                if parent[run] == root:
                    k0, k1 = min(k0, k), max(k1, k + 1)
                    j0, j1 = min(j0, j), max(j1, j + 1)
                    i0, i1 = min(i0, begin[run]), max(i1, end[run])
    return k0, k1, j0, j1, i0, i1


@njit(nogil=True, cache=True)
def _fill(voxels, corner, height, rows, begin, end, parent, root):  # type: ignore[no-untyped-def]
    k0, j0, i0 = corner
    for k in range(voxels.shape[0]):
        for j in range(voxels.shape[1]):
            row = (k0 + k) * height + j0 + j
            for run in range(rows[row], rows[row + 1]):
                if parent[run] == root:
                    voxels[k, j, begin[run] - i0 : end[run] - i0] = 1

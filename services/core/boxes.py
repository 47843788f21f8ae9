"""Parts of a volume: a box of voxels and where it lies, so that work on an organ costs what the organ is large."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

Mask = npt.NDArray[np.uint8]
Corner = tuple[int, int, int]
Region = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Boxed:
    """The uint8 voxels (k, j, i) of one box of a larger array; `corner` is where its first voxel lies there.

    Outside the box everything is 0. A box of shape (0, 0, 0) is an array that is all 0.
    """

    corner: Corner
    voxels: Mask

    @property
    def slices(self) -> Region:
        """The box as an index into the larger array."""
        k, j, i = (slice(c, c + n) for c, n in zip(self.corner, self.voxels.shape, strict=True))
        return k, j, i

    @property
    def count(self) -> int:
        """Number of voxels that are not 0."""
        return int(np.count_nonzero(self.voxels))

    def whole(self, shape: tuple[int, ...]) -> Mask:
        """The larger array, of shape (k, j, i)."""
        result = np.zeros(shape, np.uint8)
        result[self.slices] = self.voxels
        return result

    def within(self, part: Region) -> Mask:
        """A view of the voxels in `part`, a region of the larger array that lies inside this box."""
        k, j, i = (slice(s.start - c, s.stop - c) for s, c in zip(part, self.corner, strict=True))
        return self.voxels[k, j, i]


EMPTY = Boxed((0, 0, 0), np.zeros((0, 0, 0), np.uint8))
"""A mask without voxels."""


def crop(array: Mask, corner: Corner = (0, 0, 0)) -> Boxed:
    """The smallest box of a (k, j, i) array that holds all that is not 0, as a view.

    `corner` is where the array itself lies in a larger one.
    """
    k0, k1, j0, j1, i0, i1 = _bounds(array)
    if k1 == 0:
        return EMPTY
    return Boxed((corner[0] + k0, corner[1] + j0, corner[2] + i0), array[k0:k1, j0:j1, i0:i1])


def masks_of(labels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> dict[int, Boxed]:
    """The mask of every id in a label map (k, j, i), 0/1 in its smallest box, by id; one pass over the map."""
    stored = np.ascontiguousarray(labels)
    rows = stored.reshape(-1, stored.shape[2]).view(np.uint8)
    bounds = _label_bounds(stored, rows, int(np.iinfo(labels.dtype).max))
    found = {}
    for label in np.flatnonzero(bounds[:, 1]).tolist():
        k0, k1, j0, j1, i0, i1 = bounds[label].tolist()
        voxels = labels[k0:k1, j0:j1, i0:i1] == label
        found[label] = Boxed((k0, j0, i0), voxels.view(np.uint8))
    return found


def common(first: Boxed, second: Boxed) -> Region | None:
    """The region that two boxes share, as an index into the larger array; None if they share nothing."""
    k, j, i = (
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(first.slices, second.slices, strict=True)
    )
    return None if any(part.start >= part.stop for part in (k, j, i)) else (k, j, i)


@njit(nogil=True, cache=True)
def _bounds(array):  # type: ignore[no-untyped-def]
    """First and last-plus-one index along k, j and i of what is not 0; six zeros if all is 0."""
    depth, height, width = array.shape
    k0, k1, j0, j1, i0, i1 = depth, 0, height, 0, width, 0
    for k in range(depth):
        for j in range(height):
            row = array[k, j]
            present = np.uint8(0)
            for i in range(width):
                # Without the cast a byte becomes a word, and the loop takes five times as long.
                present = np.uint8(present | row[i])
            if present:
                first, last = 0, width
                while row[first] == 0:
                    first += 1
                while row[last - 1] == 0:
                    last -= 1
                k0, k1 = min(k0, k), k + 1
                j0, j1 = min(j0, j), max(j1, j + 1)
                i0, i1 = min(i0, first), max(i1, last)
    return k0, k1, j0, j1, i0, i1


@njit(nogil=True, cache=True)
def _label_bounds(labels, rows, highest):  # type: ignore[no-untyped-def]
    """Per id first and last-plus-one index along k, j and i; zeros for an id that is not there, and for 0.

    `rows` are the bytes of each row (k, j), which tell the empty ones quickly.
    """
    depth, height, width = labels.shape
    bounds = np.zeros((highest + 1, 6), np.int32)
    for k in range(depth):
        for j in range(height):
            row, stored = labels[k, j], rows[k * height + j]
            present = np.uint8(0)
            for i in range(len(stored)):
                present = np.uint8(present | stored[i])
            if present == 0:
                continue
            i = 0
            while i < width:
                label, start = row[i], i
                while i < width and row[i] == label:
                    i += 1
                if label == 0:
                    continue
                box = bounds[label]
                if box[1] == 0:
                    box[0], box[2], box[4] = k, j, start
                box[1] = k + 1
                box[2], box[3] = min(box[2], j), max(box[3], j + 1)
                box[4], box[5] = min(box[4], start), max(box[5], i)
    return bounds

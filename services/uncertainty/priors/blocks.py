"""An organ in blocks of about 3 mm: its shape, at a small part of the voxels."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.boxes import Boxed, Mask
from services.core.geometry import Geometry

BLOCK_MM = 3.0
MOST_PAIRS = 10**8

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Blocks:
    """`filled` (k, j, i) is the share of each block that the organ fills, 0 to 1; the first block is number `first`.

    `size` is a block's edge in voxels along k, j and i. Blocks are counted from the grid's own corner, so those of two
    organs on one grid fit together.
    """

    filled: npt.NDArray[np.float32]
    first: tuple[int, int, int]
    size: tuple[int, int, int]
    grid: Geometry

    @classmethod
    def of(cls, mask: Boxed, grid: Geometry) -> "Blocks":
        """The blocks of a mask on `grid`; all that stick out of the grid are counted as if they were whole."""
        size = k, j, i = block_size(grid)
        first = [c // s for c, s in zip(mask.corner, size, strict=True)]
        last = [-(-(c + n) // s) for c, n, s in zip(mask.corner, mask.voxels.shape, size, strict=True)]
        counts = np.zeros([b - a for a, b in zip(first, last, strict=True)], np.int32)
        offset = [c - f * s for c, f, s in zip(mask.corner, first, size, strict=True)]
        _count(mask.voxels, offset[0], offset[1], offset[2], k, j, i, counts)
        return cls((counts / np.float32(k * j * i)).astype(np.float32), (first[0], first[1], first[2]), size, grid)

    @property
    def edges_mm(self) -> tuple[float, float, float]:
        """A block's edges along k, j and i in mm."""
        k, j, i = (n * s for n, s in zip(self.size, self.grid.spacing_mm[::-1], strict=True))
        return k, j, i

    @cached_property
    def solid(self) -> Mask:
        """1 where a block is at least half full."""
        return (self.filled >= 0.5).astype(np.uint8)

    @property
    def outer_points_mm(self) -> Points:
        """RAS mm of the centres of the blocks at the surface, (n, 3): an empty one is on one of six sides. Not kept."""
        touched = np.pad(self.filled > 0, 1)
        inner = touched.copy()
        for axis in range(3):
            inner &= np.roll(touched, 1, axis) & np.roll(touched, -1, axis)
        return self.points_mm(np.argwhere((touched & ~inner)[1:-1, 1:-1, 1:-1]))

    def points_mm(self, blocks: npt.NDArray[np.int64]) -> Points:
        """RAS mm of the centres of blocks, given as indices (n, 3) of (k, j, i) into `filled`."""
        index = (blocks + self.first) * self.size + (np.array(self.size) - 1) / 2
        return np.asarray(index[:, ::-1] @ self.grid.matrix[:3, :3].T + self.grid.matrix[:3, 3])

    def region(self, blocks: Mask) -> Boxed:
        """The voxels of the grid in blocks that are marked in an array like `filled`, as a 0/1 box."""
        marked = np.argwhere(blocks)
        if not len(marked):
            return Boxed((0, 0, 0), np.zeros((0, 0, 0), np.uint8))
        low, high = marked.min(axis=0), marked.max(axis=0) + 1
        part = blocks[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        voxels = np.kron(part != 0, np.ones(self.size, np.uint8)).astype(np.uint8)
        k, j, i = (int(v) for v in (low + self.first) * self.size)
        inside = [max(0, n - c) for n, c in zip(self.grid.array_shape, (k, j, i), strict=True)]
        return Boxed((k, j, i), np.ascontiguousarray(voxels[: inside[0], : inside[1], : inside[2]]))


def block_size(grid: Geometry) -> tuple[int, int, int]:
    """Edges of a block in voxels along k, j and i."""
    k, j, i = (max(1, round(BLOCK_MM / spacing)) for spacing in grid.spacing_mm[::-1])
    return k, j, i


def gap_mm(first: Points, second: Points) -> float:
    """The least distance in mm between points of one set and points of another; infinite if one is empty.

    Of sets so large that no organ has them, only every n-th point counts.
    """
    if not len(first) or not len(second):
        return float("inf")
    if len(first) * len(second) > MOST_PAIRS:
        most = int(MOST_PAIRS**0.5)
        first, second = first[:: -(-len(first) // most)], second[:: -(-len(second) // most)]
    return float(np.sqrt(_least_square(np.ascontiguousarray(first), np.ascontiguousarray(second))))


@njit(nogil=True, cache=True)
def _count(voxels, k0, j0, i0, dk, dj, di, counts):  # type: ignore[no-untyped-def]
    depth, height, width = voxels.shape
    for k in range(depth):
        for j in range(height):
            row = voxels[k, j]
            present = np.uint8(0)
            for i in range(width):
                present |= row[i]
            if present:
                line = counts[(k + k0) // dk, (j + j0) // dj]
                for i in range(width):
                    if row[i]:
                        line[(i + i0) // di] += 1


@njit(nogil=True, cache=True)
def _least_square(first, second):  # type: ignore[no-untyped-def]
    least = np.inf
    for a in range(len(first)):
        for b in range(len(second)):
            square = 0.0
            for axis in range(3):
                step = first[a, axis] - second[b, axis]
                square += step * step
            least = min(least, square)
    return least

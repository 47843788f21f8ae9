"""How array files cut a slab of 32 slices into blocks, so that only those that matter are decompressed.

A block is a box of `BLOCK` voxels in C order, and the blocks of a slab follow each other in C order. A row of a block
is as long as a word of bits. Slabs are made up to whole blocks, which hold 0 behind the ends of the grid.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.lanes import move, squeeze

SLAB = 32
BLOCK = (16, 16, 64)
LAYERS = SLAB // BLOCK[0]

Chosen = npt.NDArray[np.bool_]
"""Some of the blocks (k, j, i) of a slab or of a grid."""


def blocks_of(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """How many blocks there are along k, j and i of whole slabs that hold a grid of `shape` (k, j, i)."""
    depth, height, width = shape
    return LAYERS * -(-depth // SLAB), -(-height // BLOCK[1]), -(-width // BLOCK[2])


def padded(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape of one slab on a grid of `shape` (k, j, i), made up to whole blocks."""
    _, across, along = blocks_of(shape)
    return SLAB, across * BLOCK[1], along * BLOCK[2]


def rows_by_block(slab: npt.NDArray[Any]) -> npt.NDArray[np.void]:
    """A view of a slab of whole blocks (k, j, i): the rows (k, j) of its blocks (k, j, i), each row as one item."""
    k, j, i = (length // size for length, size in zip(slab.shape, BLOCK, strict=True))
    parts = as_rows(slab.reshape(k, BLOCK[0], j, BLOCK[1], i, BLOCK[2]))
    return parts.transpose(0, 2, 4, 1, 3)


def as_rows(blocks: npt.NDArray[Any]) -> npt.NDArray[np.void]:
    """A view of blocks (..., k, j, i): their rows (..., k, j), each as one item, which NumPy copies at a stroke."""
    rows: npt.NDArray[np.void] = blocks.view(np.dtype((np.void, BLOCK[2] * blocks.itemsize)))[..., 0]
    return rows


def paste(blocks: npt.NDArray[Any], there: Chosen, slab: npt.NDArray[Any]) -> None:
    """Put those blocks of a slab that are `there`, (block, k, j, i), into it (k, j, i); its other voxels become 0."""
    slab[...] = 0
    _paste(_bytes(blocks), np.ascontiguousarray(np.argwhere(there)), _bytes(slab), slab.shape, slab.itemsize)


def _bytes(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)


@njit(nogil=True, cache=True)
def _paste(source, blocks, target, shape, itemsize):  # type: ignore[no-untyped-def]
    depth, height, width = shape[0], shape[1], shape[2] * itemsize
    deep, high, wide = BLOCK[0], BLOCK[1], BLOCK[2] * itemsize
    for number in range(len(blocks)):
        k, j, i = deep * blocks[number, 0], high * blocks[number, 1], wide * blocks[number, 2]
        for first in range(0, min(wide, width - i), 64):
            size = min(64, width - i - first)
            rest = ~np.uint64(0) >> np.uint64(64 - size)
            for by in range(min(deep, depth - k)):
                row = ((number * deep + by) * high) * wide + first
                into = ((k + by) * height + j) * width + i + first
                for at in range(min(high, height - j)):
                    if size == 64:
                        move(source, row + at * wide, target, into + at * width)
                    else:
                        squeeze(source, row + at * wide, rest, target, into + at * width)

"""Masks at one bit a voxel: uint64 words (k, j, w), voxel i of a row in bit i % 64 of word i // 64.

64 voxels an operation is what makes the morphology of nine organs cheap. Bits behind the end of a row are always 0.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.boxes import Mask, Region
from services.core.lanes import at_least, lowest, popcount

Words = npt.NDArray[np.uint64]
Shape = tuple[int, int, int]


def words_of(shape: tuple[int, ...]) -> Shape:
    """The shape (k, j, w) of the bit plane of an array of `shape` (k, j, i)."""
    return shape[0], shape[1], -(-shape[2] // 64)


def pack(mask: Mask, into: Words, corner: Shape = (0, 0, 0)) -> None:
    """Set the bits of a mask (k, j, i) whose first voxel lies at `corner`."""
    _pack(mask, corner, into)


def unpack(words: Words, part: Region) -> Mask:
    """The voxels of a region, uint8 0 or 1 (k, j, i)."""
    k, j, i = part
    mask = np.zeros((k.stop - k.start, j.stop - j.start, i.stop - i.start), np.uint8)
    _unpack(words[k, j], i.start, mask)
    return mask


def bounds(words: Words) -> Region:
    """The smallest region of voxels that holds all bits that are set; of no voxels if there are none."""
    k0, k1, j0, j1, i0, i1 = _bounds(np.ascontiguousarray(words))
    return slice(k0, k1), slice(j0, j1), slice(i0, i1)


def count(words: Words) -> int:
    """Number of bits that are set in contiguous words."""
    return int(_count(words.reshape(-1)))


@njit(nogil=True, cache=True)
def any_bit(words):  # type: ignore[no-untyped-def]
    """Whether any bit of words (n,) is set."""
    some = np.uint64(0)
    for v in range(len(words)):
        some |= words[v]
    return some != 0


@njit(nogil=True, cache=True)
def _pack(mask, corner, words):  # type: ignore[no-untyped-def]
    width = mask.shape[2]
    lanes = np.zeros(64, np.uint8)
    for k in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            row, target, i = mask[k, j], words[corner[0] + k, corner[1] + j], 0
            while i < width:
                at = corner[2] + i
                size = min(64 - (at & 63), width - i)
                for v in range(64):
                    lanes[v] = row[i + v] if v < size else 0
                target[at >> 6] |= at_least(lanes, 0, np.uint8(1)) << np.uint64(at & 63)
                i += size


@njit(nogil=True, cache=True)
def _unpack(words, first, mask):  # type: ignore[no-untyped-def]
    width = mask.shape[2]
    for k in range(words.shape[0]):
        for j in range(words.shape[1]):
            for w in range(words.shape[2]):
                word = words[k, j, w]
                low, high = max(64 * w, first), min(64 * w + 64, first + width)
                if word == 0:
                    continue
                for i in range(low, high):
                    mask[k, j, i - first] = (word >> np.uint64(i & 63)) & np.uint64(1)


@njit(nogil=True, cache=True)
def _count(words):  # type: ignore[no-untyped-def]
    total = np.int64(0)
    for v in range(len(words)):
        total += popcount(words[v])
    return total


@njit(nogil=True, cache=True)
def _bounds(words):  # type: ignore[no-untyped-def]
    depth, height, width = words.shape
    k0, k1 = depth, 0
    # What any slice holds, because a loop over whole slices is turned into vector instructions.
    held = np.zeros(height * width, np.uint64)
    for k in range(depth):
        plane, some = words[k].reshape(-1), np.uint64(0)
        for v in range(len(held)):
            some |= plane[v]
            held[v] |= plane[v]
        if some:
            k0, k1 = min(k0, k), k + 1
    if k1 == 0:
        return 0, 0, 0, 0, 0, 0
    j0, j1, columns = height, 0, np.zeros(width, np.uint64)
    for j in range(height):
        row = held[j * width : (j + 1) * width]
        if any_bit(row):
            j0, j1 = min(j0, j), j + 1
            columns |= row
    first, last = 0, width - 1
    while columns[first] == 0:
        first += 1
    while columns[last] == 0:
        last -= 1
    end = 64
    while not columns[last] >> np.uint64(end - 1):
        end -= 1
    return k0, k1, j0, j1, 64 * first + lowest(columns[first]), 64 * last + end

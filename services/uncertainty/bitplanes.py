"""Masks of a whole grid at one bit a voxel: uint64 words (k, j, w), voxel i of a row in bit i % 64 of word i // 64.

64 voxels an operation is what makes the morphology of nine organs cheap. Bits behind the end of a row are always 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from services.core.boxes import Boxed, Mask, Region

Words = npt.NDArray[np.uint64]

RADIUS = 2
"""Of the box that `open_box` opens by, in voxels."""


def _popcount(typing_context, word):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


def _lowest(typing_context, word):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


popcount: Any = intrinsic(_popcount)
"""Number of bits that are set in a uint64."""
lowest: Any = intrinsic(_lowest)
"""Place of the lowest bit that is set in a uint64 that is not 0."""


def empty(shape: tuple[int, int, int]) -> Words:
    """The bits of a mask (k, j, i) that is all 0."""
    return np.zeros((shape[0], shape[1], -(-shape[2] // 64)), np.uint64)


def pack(mask: Boxed, shape: tuple[int, int, int]) -> Words:
    """The bits of a mask on a grid of `shape` (k, j, i)."""
    words = empty(shape)
    _pack(mask.voxels, mask.corner, words)
    return words


def unpack(words: Words, part: Region) -> Mask:
    """The voxels of a region, uint8 0 or 1 (k, j, i)."""
    k, j, i = part
    mask = np.zeros((k.stop - k.start, j.stop - j.start, i.stop - i.start), np.uint8)
    _unpack(words[k, j], i.start, mask)
    return mask


def bounds(words: Words) -> Region:
    """The smallest region that holds all bits that are set; of no voxels if there are none."""
    k0, k1, j0, j1, i0, i1 = _bounds(words)
    return slice(k0, k1), slice(j0, j1), slice(i0, i1)


def boxed(words: Words) -> Boxed:
    """The mask in its smallest box."""
    part = bounds(words)
    if part[0].stop == 0:
        return Boxed((0, 0, 0), np.zeros((0, 0, 0), np.uint8))
    return Boxed((part[0].start, part[1].start, part[2].start), unpack(words, part))


@dataclass(frozen=True)
class Trimmed:
    """The bits of a mask without the slices and rows around it that are all 0, to be kept."""

    first: tuple[int, int]
    words: Words

    @staticmethod
    def of(words: Words) -> "Trimmed":
        """What is left of bit planes without their empty margins, as a copy."""
        k, j, _ = bounds(words)
        return Trimmed((k.start, j.start), words[k, j].copy())

    def add_to(self, words: Words) -> None:
        """Set these bits in planes of the whole grid."""
        k, j = self.first
        words[k : k + self.words.shape[0], j : j + self.words.shape[1]] |= self.words

    def common(self, other: "Trimmed") -> "Trimmed | None":
        """The bits that both have; None if the margins alone tell that there are none."""
        low = [max(a, b) for a, b in zip(self.first, other.first, strict=True)]
        high = [
            min(a + n, b + m)
            for a, n, b, m in zip(self.first, self.words.shape, other.first, other.words.shape, strict=False)
        ]
        if low[0] >= high[0] or low[1] >= high[1]:
            return None
        return Trimmed((low[0], low[1]), self._part(low, high) & other._part(low, high))

    def _part(self, low: list[int], high: list[int]) -> Words:
        k, j = self.first
        return self.words[low[0] - k : high[0] - k, low[1] - j : high[1] - j]


def count(words: Words) -> int:
    """Number of bits that are set."""
    return int(_count(words.reshape(-1)))


def open_box(words: Words, width: int) -> Words:
    """The mask of rows of `width` voxels opened by a box of 5x5x5 voxels; outside the grid is 0.

    That equals two erosions and then two dilations by the full 3x3x3 element with border 0. A grid that is thinner
    than five voxels along any axis opens to nothing.
    """
    depth, height, _ = words.shape
    if min(depth, height, width) < 2 * RADIUS + 1:
        return np.zeros_like(words)
    eroded = np.zeros_like(words)
    if _erode(words, width, eroded):
        _dilate(eroded, width)
    return eroded


def spread(values: npt.NDArray[np.uint8], words: Words) -> Boxed:
    """The box of a uint8 volume that holds `values` where the bits are set, in C order, and 0 elsewhere."""
    k, j, i = bounds(words)
    out = np.zeros((k.stop - k.start, j.stop - j.start, i.stop - i.start), np.uint8)
    _spread(values, words[k, j], i.start, out)
    return Boxed((k.start, j.start, i.start), out)


@njit(nogil=True, cache=True)
def _spread(values, words, first, out):  # type: ignore[no-untyped-def]
    at = 0
    for k in range(words.shape[0]):
        for j in range(words.shape[1]):
            for w in range(words.shape[2]):
                word = words[k, j, w]
                while word:
                    out[k, j, 64 * w + lowest(word) - first] = values[at]
                    at += 1
                    word &= word - np.uint64(1)


@njit(nogil=True, cache=True)
def _pack(mask, corner, words):  # type: ignore[no-untyped-def]
    for k in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            row = words[corner[0] + k, corner[1] + j]
            for i in range(mask.shape[2]):
                at = corner[2] + i
                row[at >> 6] |= np.uint64(mask[k, j, i] != 0) << np.uint64(at & 63)


@njit(nogil=True, cache=True)
def _unpack(words, first, mask):  # type: ignore[no-untyped-def]
    for k in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            for w in range(words.shape[2]):
                word = words[k, j, w]
                low, high = max(64 * w, first), min(64 * w + 64, first + mask.shape[2])
                if word == 0:
                    continue
                for i in range(low, high):
                    mask[k, j, i - first] = (word >> np.uint64(i & 63)) & np.uint64(1)


@njit(nogil=True, cache=True)
def _count(words):  # type: ignore[no-untyped-def]
    total = np.int64(0)
    for v in range(len(words)):
        total += np.int64(popcount(words[v]))
    return total


@njit(nogil=True, cache=True)
def any_bit(words):  # type: ignore[no-untyped-def]
    """Whether any bit of words (n,) is set."""
    some = np.uint64(0)
    for v in range(len(words)):
        some |= words[v]
    return some != 0


@njit(nogil=True, cache=True)
def _bounds(words):  # type: ignore[no-untyped-def]
    depth, height, width = words.shape
    k0, k1, j0, j1 = depth, 0, height, 0
    columns = np.zeros(width, np.uint64)
    for k in range(depth):
        if not any_bit(words[k].reshape(-1)):
            continue
        k0, k1 = min(k0, k), k + 1
        for j in range(height):
            some = np.uint64(0)
            for w in range(width):
                some |= words[k, j, w]
                columns[w] |= words[k, j, w]
            if some:
                j0, j1 = min(j0, j), max(j1, j + 1)
    if k1 == 0:
        return 0, 0, 0, 0, 0, 0
    first, last = 0, width - 1
    while columns[first] == 0:
        first += 1
    while columns[last] == 0:
        last -= 1
    end = 64
    while not columns[last] >> np.uint64(end - 1):
        end -= 1
    return k0, k1, j0, j1, 64 * first + lowest(columns[first]), 64 * last + end


@njit(nogil=True, cache=True)
def _erode_row(row, out):  # type: ignore[no-untyped-def]
    """Bits whose two neighbours to either side in the row are set too."""
    before, here = np.uint64(0), row[0]
    for w in range(len(row)):
        after = row[w + 1] if w + 1 < len(row) else np.uint64(0)
        left = (here << np.uint64(1) | before >> np.uint64(63)) & (here << np.uint64(2) | before >> np.uint64(62))
        right = (here >> np.uint64(1) | after << np.uint64(63)) & (here >> np.uint64(2) | after << np.uint64(62))
        out[w] = here & left & right
        before, here = here, after


@njit(nogil=True, cache=True)
def _dilate_row(row, rest):  # type: ignore[no-untyped-def]
    """Bits, in place, that have a neighbour within two in the row; `rest` are the valid bits of the last word."""
    before, here = np.uint64(0), row[0]
    for w in range(len(row)):
        after = row[w + 1] if w + 1 < len(row) else np.uint64(0)
        left = here << np.uint64(1) | before >> np.uint64(63) | here << np.uint64(2) | before >> np.uint64(62)
        right = here >> np.uint64(1) | after << np.uint64(63) | here >> np.uint64(2) | after << np.uint64(62)
        row[w] = here | left | right
        before, here = here, after
    row[len(row) - 1] &= rest


@njit(nogil=True, cache=True)
def _erode_plane(plane, by_row, out):  # type: ignore[no-untyped-def]
    """One slice (j, w) eroded along i and j; whether anything is left."""
    height, width = plane.shape
    for j in range(height):
        _erode_row(plane[j], by_row[j])
    out[...] = 0
    source, target = by_row.reshape(-1), out[2 : height - 2].reshape(-1)
    some = np.uint64(0)
    for v in range(len(target)):
        word = (
            source[v]
            & source[v + width]
            & source[v + 2 * width]
            & source[v + 3 * width]
            & source[v + 4 * width]
        )  # fmt: skip
        target[v] = word
        some |= word
    return some != 0


@njit(nogil=True, cache=True)
def _erode(words, width, out):  # type: ignore[no-untyped-def]
    """`words` eroded by 5x5x5 into `out`, which is all 0; whether anything is left."""
    depth, height, row_words = words.shape
    window = np.empty((5, height, row_words), np.uint64)
    by_row = np.empty((height, row_words), np.uint64)
    run, some = 0, False
    for k in range(depth):
        # Five slices in a row must have something left for the middle one to keep anything.
        full = any_bit(words[k].reshape(-1)) and _erode_plane(words[k], by_row, window[k % 5])
        run = run + 1 if full else 0
        if run >= 5:
            a, b, c = window[0].reshape(-1), window[1].reshape(-1), window[2].reshape(-1)
            d, e, target = window[3].reshape(-1), window[4].reshape(-1), out[k - 2].reshape(-1)
            left = np.uint64(0)
            for v in range(len(target)):
                word = a[v] & b[v] & c[v] & d[v] & e[v]
                target[v] = word
                left |= word
            some = some or left != 0
    return some


@njit(nogil=True, cache=True)
def _dilate(words, width):  # type: ignore[no-untyped-def]
    """`words` dilated by 5x5x5 in place."""
    depth, height, row_words = words.shape
    rest = ~np.uint64(0) >> np.uint64(-width & 63)
    window = np.zeros((5, height, row_words), np.uint64)
    filled = np.zeros(5, np.bool_)
    for k in range(depth + 2):
        slot = k % 5
        filled[slot] = k < depth and any_bit(words[min(k, depth - 1)].reshape(-1))
        if filled[slot]:
            _dilate_plane(words[k], window[slot], rest)
        if k < 2:
            continue
        target = words[k - 2].reshape(-1)
        for other in range(5):
            if filled[other]:
                source = window[other].reshape(-1)
                for v in range(len(target)):
                    target[v] |= source[v]


@njit(nogil=True, cache=True)
def _dilate_plane(plane, out, rest):  # type: ignore[no-untyped-def]
    """One slice (j, w) dilated along i and j."""
    height = len(plane)
    out[...] = plane
    for j in range(height):
        if any_bit(plane[j]):
            for other in range(max(0, j - 2), min(height, j + 3)):
                if other != j:
                    for w in range(plane.shape[1]):
                        out[other, w] |= plane[j, w]
    for j in range(height):
        _dilate_row(out[j], rest)

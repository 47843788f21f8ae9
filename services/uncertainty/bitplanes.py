"""Masks of a whole grid at one bit a voxel: uint64 words (k, j, w), voxel i of a row in bit i % 64 of word i // 64.

64 voxels an operation is what makes the morphology of nine organs cheap. Bits behind the end of a row are always 0.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.boxes import Boxed, Mask, Region
from services.uncertainty.lanes import at_least, popcount
from services.uncertainty.lanes import lowest as lowest

Words = npt.NDArray[np.uint64]
Values = npt.NDArray[np.uint8]

MAX_RADIUS = 63
"""Of the box that `open_box` opens by, in voxels: a neighbour along i lies in the next word at most."""


def empty(shape: tuple[int, ...]) -> Words:
    """The bits of a mask (k, j, i) that is all 0."""
    return np.zeros((shape[0], shape[1], -(-shape[2] // 64)), np.uint64)


def pack(mask: Boxed, shape: tuple[int, int, int]) -> Words:
    """The bits of a mask on a grid of `shape` (k, j, i)."""
    words = empty(shape)
    add(mask, words)
    return words


def add(mask: Boxed, words: Words) -> None:
    """Set the bits of a mask in those of the whole grid."""
    _pack(mask.voxels, mask.corner, words)


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


def open_box(words: Words, width: int, radii: tuple[int, int, int] = (2, 2, 2)) -> Words:
    """The mask of rows of `width` voxels opened by a box of 2 r + 1 voxels along k, j and i; outside the grid is 0.

    With the radius 2 that equals two erosions and then two dilations by the full 3x3x3 element with border 0. A grid
    that is thinner than the box along any axis opens to nothing. No radius may be above `MAX_RADIUS`.
    """
    if max(radii) > MAX_RADIUS:
        raise ValueError(f"a box of radii up to {MAX_RADIUS} is expected, not {radii}")
    depth, height, _ = words.shape
    eroded = np.zeros_like(words)
    if any(n < 2 * r + 1 for n, r in zip((depth, height, width), radii, strict=True)):
        return eroded
    if _erode(words, radii, eroded):
        _dilate(eroded, width, radii)
    return eroded


def eroded(words: Words, width: int, radii: tuple[int, int, int]) -> Words:
    """The mask of rows of `width` voxels eroded by a box of 2 r + 1 voxels along k, j and i; outside the grid is 0."""
    result = np.zeros_like(words)
    if all(n >= 2 * r + 1 for n, r in zip((*words.shape[:2], width), radii, strict=True)):
        _erode(words, radii, result)
    return result


def dilated(words: Words, width: int, radii: tuple[int, int, int]) -> Words:
    """The mask dilated by such a box."""
    result = words.copy()
    _dilate(result, width, radii)
    return result


def spread(values: Values, words: Words) -> Boxed:
    """The box of a uint8 volume that holds `values` where the bits are set, in C order, and 0 elsewhere."""
    k, j, i = bounds(words)
    out = np.zeros((k.stop - k.start, j.stop - j.start, i.stop - i.start), np.uint8)
    _spread(values, words[k, j], i.start, out)
    return Boxed((k.start, j.start, i.start), out)


def gather(stack: Values, flagged: Words) -> Values:
    """The probabilities of the flagged voxels in C order, (voxel, model)."""
    out = np.empty((count(flagged), len(stack)), np.uint8)
    _gather(stack, flagged, out)
    return out


@njit(nogil=True, cache=True)
def _spread(values, words, first, out):  # type: ignore[no-untyped-def]
    at = 0
    for k in range(words.shape[0]):
        for j in range(words.shape[1]):
            for w in range(words.shape[2]):
                word, row, start = words[k, j, w], out[k, j], 64 * w - first
                while word:
                    row[start + lowest(word)] = values[at]
                    at += 1
                    word &= word - np.uint64(1)


@njit(nogil=True, cache=True)
def _gather(stack, flagged, out):  # type: ignore[no-untyped-def]
    at = 0
    for k in range(len(flagged)):
        if not any_bit(flagged[k].reshape(-1)):
            continue
        for j in range(flagged.shape[1]):
            for w in range(flagged.shape[2]):
                word = flagged[k, j, w]
                while word:
                    i = 64 * w + lowest(word)
                    for n in range(len(stack)):
                        out[at, n] = stack[n, k, j, i]
                    at += 1
                    word &= word - np.uint64(1)


@njit(nogil=True, cache=True)
def least(values):  # type: ignore[no-untyped-def]
    """The smallest of uint8 values."""
    low = np.uint8(255)
    for v in range(len(values)):
        low = values[v] if values[v] < low else low
    return low


@njit(nogil=True, cache=True)
def packed(found):  # type: ignore[no-untyped-def]
    """64 bytes, 0 or 1, as 64 bits; the product moves those of eight bytes into its highest one."""
    word = np.uint64(0)
    for part in range(8):
        bits = (found[part] * np.uint64(0x0102040810204080)) >> np.uint64(56)
        word |= bits << np.uint64(8 * part)
    return word


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
        total += popcount(words[v])
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
def _shifted(row, w, by):  # type: ignore[no-untyped-def]
    """Word w of a row as it is when all bits move up by `by` places, or down if that is negative; |by| < 64."""
    if by >= 0:
        before = row[w - 1] >> np.uint64(64 - by) if by > 0 and w > 0 else np.uint64(0)
        return row[w] << np.uint64(by) | before
    after = row[w + 1] << np.uint64(64 + by) if w + 1 < len(row) else np.uint64(0)
    return row[w] >> np.uint64(-by) | after


@njit(nogil=True, cache=True)
def _erode_plane(plane, radius_j, radius_i, by_row, out):  # type: ignore[no-untyped-def]
    """One slice (j, w) eroded along i and j; whether anything is left."""
    height, width = plane.shape
    for j in range(height):
        row, target = plane[j], by_row[j]
        target[...] = row
        if radius_i and any_bit(row):
            for w in range(width):
                word = row[w]
                for by in range(1, radius_i + 1):
                    word &= _shifted(row, w, by) & _shifted(row, w, -by)
                target[w] = word
    out[...] = 0
    source, target = by_row.reshape(-1), out[radius_j : height - radius_j].reshape(-1)
    target[...] = source[: len(target)]
    for row in range(1, 2 * radius_j + 1):
        other = source[row * width : row * width + len(target)]
        for v in range(len(target)):
            target[v] &= other[v]
    return any_bit(target)


@njit(nogil=True, cache=True)
def _erode(words, radii, out):  # type: ignore[no-untyped-def]
    """`words` eroded by a box into `out`, which is all 0; whether anything is left."""
    depth, height, row_words = words.shape
    size = 2 * radii[0] + 1
    window = np.empty((size, height, row_words), np.uint64)
    by_row = np.empty((height, row_words), np.uint64)
    run, some = 0, False
    for k in range(depth):
        # All slices of the box must have something left for the middle one to keep anything.
        full = any_bit(words[k].reshape(-1)) and _erode_plane(words[k], radii[1], radii[2], by_row, window[k % size])
        run = run + 1 if full else 0
        if run >= size:
            target = out[k - radii[0]].reshape(-1)
            target[...] = window[0].reshape(-1)
            for other in range(1, size):
                source = window[other].reshape(-1)
                for v in range(len(target)):
                    target[v] &= source[v]
            some = some or any_bit(target)
    return some


@njit(nogil=True, cache=True)
def _dilate(words, width, radii):  # type: ignore[no-untyped-def]
    """`words` dilated by a box in place."""
    depth, height, row_words = words.shape
    size = 2 * radii[0] + 1
    rest = ~np.uint64(0) >> np.uint64(-width & 63)
    window = np.zeros((size, height, row_words), np.uint64)
    by_row = np.empty((height, row_words), np.uint64)
    filled = np.zeros(size, np.bool_)
    for k in range(depth + radii[0]):
        slot = k % size
        filled[slot] = k < depth and any_bit(words[min(k, depth - 1)].reshape(-1))
        if filled[slot]:
            _dilate_plane(words[k], radii[1], radii[2], rest, by_row, window[slot])
        if k < radii[0]:
            continue
        target = words[k - radii[0]].reshape(-1)
        for other in range(size):
            if filled[other]:
                source = window[other].reshape(-1)
                for v in range(len(target)):
                    target[v] |= source[v]


@njit(nogil=True, cache=True)
def _dilate_plane(plane, radius_j, radius_i, rest, by_row, out):  # type: ignore[no-untyped-def]
    """One slice (j, w) dilated along i and j; `rest` are the valid bits of a row's last word."""
    height, width = plane.shape
    out[...] = 0
    for j in range(height):
        row, wide = plane[j], by_row[j]
        if not any_bit(row):
            continue
        for w in range(width):
            word = row[w]
            for by in range(1, radius_i + 1):
                word |= _shifted(row, w, by) | _shifted(row, w, -by)
            wide[w] = word
        wide[width - 1] &= rest
        for other in range(max(0, j - radius_j), min(height, j + radius_j + 1)):
            for w in range(width):
                out[other, w] |= wide[w]

"""Erosion, dilation and opening of bit planes by a box of voxels, 2 r + 1 of them along k, j and i.

Outside of an array all is 0. No radius may be above `MAX_RADIUS`: a neighbour along i lies in the next word at most.
"""

import numpy as np
from numba import njit

from services.uncertainty.bitplanes import Words, any_bit

MAX_RADIUS = 63

Radii = tuple[int, int, int]


def opened(words: Words, radii: Radii = (2, 2, 2)) -> Words:
    """A mask (k, j, w) without what is thinner than the box.

    With the radius 2 that equals two erosions and then two dilations by the full 3x3x3 element with border 0. A mask
    that is thinner than the box along any axis opens to nothing. Raises ValueError for a radius that is too large.
    """
    result = np.zeros(words.shape, np.uint64)
    if _has_room(words, radii):
        _open(words, radii, result)
    return result


def eroded(words: Words, radii: Radii) -> Words:
    """A mask less all voxels whose box is not full. Raises ValueError for a radius that is too large."""
    result = np.zeros(words.shape, np.uint64)
    if _has_room(words, radii):
        _erode(words, radii, result)
    return result


def dilated(words: Words, width: int, radii: Radii) -> Words:
    """A mask with all voxels, in rows of `width`, whose box holds any. Raises ValueError for a radius too large."""
    _has_room(words, radii)
    result = np.zeros(words.shape, np.uint64)
    if words.size:
        _dilate(words, width, radii, result)
    return result


def _has_room(words: Words, radii: Radii) -> bool:
    if max(radii) > MAX_RADIUS:
        raise ValueError(f"a box of radii up to {MAX_RADIUS} is expected, not {radii}")
    return words.shape[0] > 2 * radii[0] and words.shape[1] > 2 * radii[1]


@njit(nogil=True, cache=True)
def _open(words, radii, result):  # type: ignore[no-untyped-def]
    """`words` opened into `result`, which is all 0, slice by slice of the eroded mask."""
    left, wide = np.empty_like(words[0]), np.empty_like(words[0])
    # Eroding and dilating leaves nothing that was not there, so nothing can leave the rows at their ends.
    for k in range(radii[0], len(words) - radii[0]):
        first, stop = _erode_plane(words, k, radii, left, wide)
        if first < stop:
            first, stop = _dilate_plane(left, first, stop, radii[1], radii[2], wide)
            _add_around(wide, first, stop, k, radii[0], result)


@njit(nogil=True, cache=True)
def _erode(words, radii, result):  # type: ignore[no-untyped-def]
    left, scratch = np.empty_like(words[0]), np.empty_like(words[0])
    for k in range(radii[0], len(words) - radii[0]):
        first, stop = _erode_plane(words, k, radii, left, scratch)
        _add_around(left, first, stop, k, 0, result)


@njit(nogil=True, cache=True)
def _dilate(words, width, radii, result):  # type: ignore[no-untyped-def]
    wide = np.empty_like(words[0])
    rest = ~np.uint64(0) >> np.uint64(-width & 63)
    for k in range(len(words)):
        first, stop = _rows(words[k], 0, words.shape[1])
        if first < stop:
            first, stop = _dilate_plane(words[k], first, stop, radii[1], radii[2], wide)
            for j in range(first, stop):
                wide[j, -1] &= rest
            _add_around(wide, first, stop, k, radii[0], result)


@njit(nogil=True, cache=True)
def _add_around(plane, first, stop, k, radius, result):  # type: ignore[no-untyped-def]
    """Set the bits of some rows of a slice (j, w) in slice k and those around it."""
    source = plane[first:stop].reshape(-1)
    for other in range(max(0, k - radius), min(len(result), k + radius + 1)):
        target = result[other, first:stop].reshape(-1)
        for v in range(len(target)):
            target[v] |= source[v]


# What works on a slice (j, w) takes and gives the first and end of the rows that hold anything, and leaves others as
# they were: what is thin is gone after the first axis, and few rows are left.
@njit(nogil=True, cache=True)
def _rows(plane, first, stop):  # type: ignore[no-untyped-def]
    while first < stop and not any_bit(plane[first]):
        first += 1
    while first < stop and not any_bit(plane[stop - 1]):
        stop -= 1
    return first, stop


@njit(nogil=True, cache=True)
def _erode_plane(words, k, radii, out, scratch):  # type: ignore[no-untyped-def]
    """Slice k of the eroded mask."""
    if not _erode_along_k(words, k, radii[0], out):
        return 0, 0
    first, stop = _rows(out, 0, len(out))
    first, stop = _erode_along_j(out, first, stop, radii[1], scratch)
    return _erode_along_i(scratch, first, stop, radii[2], out)


@njit(nogil=True, cache=True)
def _erode_along_k(words, k, radius, out):  # type: ignore[no-untyped-def]
    """One slice (j, w) of `words` eroded by those around it; whether anything is left."""
    target, source, some = out.reshape(-1), words[k].reshape(-1), np.uint64(0)
    for v in range(len(target)):
        target[v] = source[v]
        some |= source[v]
    for by in range(1, radius + 1):
        if not some:
            return False
        some = np.uint64(0)
        before, after = words[k - by].reshape(-1), words[k + by].reshape(-1)
        for v in range(len(target)):
            target[v] &= before[v] & after[v]
            some |= target[v]
    return some != 0


@njit(nogil=True, cache=True)
def _erode_along_j(plane, first, stop, radius, out):  # type: ignore[no-untyped-def]
    # What is left of a row needs all those around it.
    first, stop, width = first + radius, stop - radius, plane.shape[1]
    if first >= stop:
        return 0, 0
    target, source = out[first:stop].reshape(-1), plane.reshape(-1)
    for v in range(len(target)):
        target[v] = source[first * width + v]
    for row in range(first - radius, first + radius + 1):
        other = source[row * width : row * width + len(target)]
        for v in range(len(target)):
            target[v] &= other[v]
    return _rows(out, first, stop)


@njit(nogil=True, cache=True)
def _erode_along_i(plane, first, stop, radius, out):  # type: ignore[no-untyped-def]
    for j in range(first, stop):
        row = plane[j]
        for w in range(plane.shape[1]):
            word = row[w]
            if word:
                for by in range(1, radius + 1):
                    word &= _shifted(row, w, by) & _shifted(row, w, -by)
            out[j, w] = word
    return _rows(out, first, stop)


@njit(nogil=True, cache=True)
def _dilate_plane(plane, first, stop, radius_j, radius_i, out):  # type: ignore[no-untyped-def]
    """One slice (j, w) dilated along i and j."""
    height, width = plane.shape
    low, high = max(0, first - radius_j), min(height, stop + radius_j)
    wide, everything = np.empty(width, np.uint64), out[low:high].reshape(-1)
    for v in range(len(everything)):
        everything[v] = 0
    for j in range(first, stop):
        row = plane[j]
        if not any_bit(row):
            continue
        for w in range(width):
            word = row[w]
            for by in range(1, radius_i + 1):
                word |= _shifted(row, w, by) | _shifted(row, w, -by)
            wide[w] = word
        for other in range(max(0, j - radius_j), min(height, j + radius_j + 1)):
            for w in range(width):
                out[other, w] |= wide[w]
    return low, high


@njit(nogil=True, cache=True)
def _shifted(row, w, by):  # type: ignore[no-untyped-def]
    """Word w of a row as it is when all bits move up by `by` places, or down if that is negative; 0 < |by| < 64."""
    if by > 0:
        before = row[w - 1] >> np.uint64(64 - by) if w > 0 else np.uint64(0)
        return row[w] << np.uint64(by) | before
    after = row[w + 1] << np.uint64(64 + by) if w + 1 < len(row) else np.uint64(0)
    return row[w] >> np.uint64(-by) | after

"""Binary opening of bit planes by a box of voxels, which takes away what is thinner than the box."""

import numpy as np
from numba import njit

from services.uncertainty.bitplanes import Words, any_bit

MAX_RADIUS = 63
"""Of the box, in voxels: a neighbour along i lies in the next word at most."""


def open_box(words: Words, radii: tuple[int, int, int] = (2, 2, 2)) -> Words:
    """A mask (k, j, w) opened by a box of 2 r + 1 voxels along k, j and i; outside the array is 0.

    With the radius 2 that equals two erosions and then two dilations by the full 3x3x3 element with border 0. An array
    that is thinner than the box along any axis opens to nothing. No radius may be above `MAX_RADIUS`.
    """
    if max(radii) > MAX_RADIUS:
        raise ValueError(f"a box of radii up to {MAX_RADIUS} is expected, not {radii}")
    opened = np.zeros_like(words)
    if all(n > 2 * r for n, r in zip(words.shape, radii[:2], strict=False)):
        _open(words, radii, opened)
    return opened


@njit(nogil=True, cache=True)
def _open(words, radii, opened):  # type: ignore[no-untyped-def]
    """`words` opened into `opened`, which is all 0, slice by slice of the eroded mask."""
    depth, height, width = words.shape
    eroded, wide = np.empty((height, width), np.uint64), np.empty((height, width), np.uint64)
    # Eroding and dilating leaves nothing that was not there, so nothing can leave the rows at their ends.
    for k in range(radii[0], depth - radii[0]):
        if (
            _erode_along_k(words, k, radii[0], eroded)
            and _erode_along_j(eroded, radii[1], wide)
            and _erode_along_i(wide, radii[2], eroded)
        ):
            _dilate_plane(eroded, radii[1], radii[2], wide)
            source = wide.reshape(-1)
            for other in range(k - radii[0], k + radii[0] + 1):
                target = opened[other].reshape(-1)
                for v in range(len(target)):
                    target[v] |= source[v]


@njit(nogil=True, cache=True)
def _erode_along_k(words, k, radius, out):  # type: ignore[no-untyped-def]
    """One slice (j, w) of `words` eroded by those around it; whether anything is left, and so for the other axes."""
    target, source = out.reshape(-1), words[k].reshape(-1)
    if not any_bit(source):
        return False
    for v in range(len(target)):
        target[v] = source[v]
    for by in range(1, radius + 1):
        before, after = words[k - by].reshape(-1), words[k + by].reshape(-1)
        for v in range(len(target)):
            target[v] &= before[v] & after[v]
    return any_bit(target)


@njit(nogil=True, cache=True)
def _erode_along_j(plane, radius, out):  # type: ignore[no-untyped-def]
    height, width = plane.shape
    out[:radius], out[height - radius :] = 0, 0
    source, target = plane.reshape(-1), out[radius : height - radius].reshape(-1)
    for v in range(len(target)):
        target[v] = source[v]
    for row in range(1, 2 * radius + 1):
        other = source[row * width : row * width + len(target)]
        for v in range(len(target)):
            target[v] &= other[v]
    return any_bit(target)


@njit(nogil=True, cache=True)
def _erode_along_i(plane, radius, out):  # type: ignore[no-untyped-def]
    height, width = plane.shape
    some = np.uint64(0)
    for j in range(height):
        row = plane[j]
        for w in range(width):
            word = row[w]
            if word:
                for by in range(1, radius + 1):
                    word &= _shifted(row, w, by) & _shifted(row, w, -by)
            out[j, w] = word
            some |= word
    return some != 0


@njit(nogil=True, cache=True)
def _dilate_plane(plane, radius_j, radius_i, out):  # type: ignore[no-untyped-def]
    """One slice (j, w) dilated along i and j."""
    height, width = plane.shape
    wide, everything = np.empty(width, np.uint64), out.reshape(-1)
    for v in range(len(everything)):
        everything[v] = 0
    for j in range(height):
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


@njit(nogil=True, cache=True)
def _shifted(row, w, by):  # type: ignore[no-untyped-def]
    """Word w of a row as it is when all bits move up by `by` places, or down if that is negative; 0 < |by| < 64."""
    if by > 0:
        before = row[w - 1] >> np.uint64(64 - by) if w > 0 else np.uint64(0)
        return row[w] << np.uint64(by) | before
    after = row[w + 1] << np.uint64(64 + by) if w + 1 < len(row) else np.uint64(0)
    return row[w] >> np.uint64(-by) | after

"""Fixed-point positions and the interpolation between eight voxels, compiled.

A volume is walked as its flat array with an offset and strides (z, y, x), which may be negative.
"""

import numpy as np
from numba import njit

BITS = 32
ONE = 1 << BITS
HALF = 1 << (BITS - 1)
WEIGHT_SHIFT = BITS - 24  # float32 holds 24 bits exactly
WEIGHT_UNIT = np.float32(2.0**-24)


@njit(nogil=True, cache=True)
def lerp(low, high, weight):  # type: ignore[no-untyped-def]
    """The value at `weight` of the way from `low` to `high`."""
    return low + (high - low) * weight


@njit(nogil=True, cache=True)
def between(start, step, low, high, first, stop):  # type: ignore[no-untyped-def]
    """The part of range(first, stop) where low <= start + step * index <= high, all fixed-point."""
    if step == 0:
        return (first, stop) if low <= start <= high else (first, first)
    if step < 0:
        start, step, low, high = -start, -step, -high, -low
    return max(first, -((start - low) // step)), min(stop, (high - start) // step + 1)


@njit(nogil=True, cache=True)
def around(position, last):  # type: ignore[no-untyped-def]
    """Indices around a fixed-point position clamped to [0, last], and the weight of the second."""
    position = min(max(position, 0), last << BITS)
    low = position >> BITS
    return low, min(low + 1, last), np.float32((position & (ONE - 1)) >> WEIGHT_SHIFT) * WEIGHT_UNIT


@njit(nogil=True, cache=True)
def trilinear(flat, offset, sz, sy, sx, zl, zh, zw, yl, yh, yw, xl, xh, xw):  # type: ignore[no-untyped-def]
    """The value between eight voxels of `flat`: indices of the lower and the higher ones, and the weights of these."""
    ll, lh = offset + zl * sz + yl * sy, offset + zl * sz + yh * sy
    hl, hh = offset + zh * sz + yl * sy, offset + zh * sz + yh * sy
    xl *= sx
    xh *= sx
    left = lerp(
        lerp(np.float32(flat[ll + xl]), np.float32(flat[hl + xl]), zw),
        lerp(np.float32(flat[lh + xl]), np.float32(flat[hh + xl]), zw),
        yw,
    )
    right = lerp(
        lerp(np.float32(flat[ll + xh]), np.float32(flat[hl + xh]), zw),
        lerp(np.float32(flat[lh + xh]), np.float32(flat[hh + xh]), zw),
        yw,
    )
    return lerp(left, right, xw)

"""Morphological opening by a box, on masks that are packed as the bits of one array."""

import numpy as np

from services.core.boxes import Mask

RADIUS = 2


def open_box(bits: Mask) -> Mask:
    """Every bit of a uint8 array (k, j, i) opened by itself by a box of 5x5x5 voxels; outside the array is 0.

    That equals two erosions and then two dilations by the full 3x3x3 element with border 0. An array that is thinner
    than five voxels along any axis opens to nothing.
    """
    if min(bits.shape) < 2 * RADIUS + 1:
        return np.zeros_like(bits)
    for axis in range(3):
        bits = _eroded(bits, axis)
    for axis in range(3):
        bits = _dilated(bits, axis)
    return bits


def _eroded(bits: Mask, axis: int) -> Mask:
    source = np.moveaxis(bits, axis, 0)
    result = np.zeros_like(bits)
    inner = np.moveaxis(result, axis, 0)[RADIUS:-RADIUS]
    inner[...] = source[: len(inner)]
    for shift in range(1, 2 * RADIUS + 1):
        inner &= source[shift : shift + len(inner)]
    return result


def _dilated(bits: Mask, axis: int) -> Mask:
    source = np.moveaxis(bits, axis, 0)
    result = bits.copy()
    target = np.moveaxis(result, axis, 0)
    for shift in range(1, RADIUS + 1):
        target[shift:] |= source[:-shift]
        target[:-shift] |= source[shift:]
    return result

"""How much of two masks is common: DSC."""

import numpy as np
from numba import njit

from services.core.metrics.pair import Mask, Pair


def dsc(first: Mask, second: Mask) -> float:
    """Dice similarity coefficient of two masks (k, j, i), 0 to 1; NaN if both are empty, 0 if one is."""
    return dsc_of(Pair.of(first, second))


def dsc_of(pair: Pair) -> float:
    """`dsc` of masks that are cut already."""
    if pair.both_empty:
        return float("nan")
    return 2 * int(_common(pair.first, pair.second)) / (pair.first_count + pair.second_count)


@njit("i8(u1[:,:,:], u1[:,:,:])", nogil=True, cache=True)
def _common(first, second):  # type: ignore[no-untyped-def]
    depth, height, width = first.shape
    total = np.int64(0)
    for k in range(depth):
        for j in range(height):
            a, b = first[k, j], second[k, j]
            count = np.int32(0)
            for i in range(width):
                count += (a[i] != 0) & (b[i] != 0)
            total += count
    return total

"""Where an ensemble doubts its own label, compiled: bit planes of sums over the models.

With S the sum of the models' uint8 probabilities and 255 N its largest value, the evidence against a label's voxel is
255 N - S inside the label and S outside.
"""

import numpy as np
from numba import njit

from services.core.ensemble import Stack
from services.uncertainty import bitplanes
from services.uncertainty.bitplanes import Words
from services.uncertainty.lanes import at_least, highest

PLANES = 5
"""That a scan gives: S above one half; S from the weak and from the strong sum on; 255 N - S likewise.

The last two only where S is above one half."""


def scan(stack: Stack, weak: int, strong: int) -> Words:
    """The bit planes (`PLANES`, k, j, w) of a stack (model, k, j, i). Both sums are below one half of 255 N."""
    planes: Words = np.zeros((PLANES, *bitplanes.words_of(stack.shape[1:])), np.uint64)
    _scan(stack, weak, strong, planes)
    return planes


@njit(nogil=True, cache=True)
def _scan(stack, weak, strong, planes):  # type: ignore[no-untyped-def]
    """Fill bit planes that are all 0."""
    models, depth, height, width = stack.shape
    full = 255 * models
    # Lanes behind the end of a row stay 0.
    total = np.zeros(64 * planes.shape[3], np.uint16)
    # 2 S > 255 N from `half` on.
    half, least_weak, least_strong = np.uint16(full // 2 + 1), np.uint16(weak), np.uint16(strong)
    no_longer_weak, no_longer_strong = np.uint16(full - weak + 1), np.uint16(full - strong + 1)
    for k in range(depth):
        for j in range(height):
            high = np.int64(0)
            for n in range(models):
                high += np.int64(highest(stack[n, k, j]))
            if high < weak:
                continue
            total[:] = 0
            for n in range(models):
                row = stack[n, k, j]
                for v in range(width):
                    total[v] += row[v]
            for w in range(planes.shape[3]):
                more = at_least(total, 64 * w, least_weak)
                if more:
                    majority = at_least(total, 64 * w, half)
                    planes[0, k, j, w], planes[1, k, j, w] = majority, more
                    planes[2, k, j, w] = at_least(total, 64 * w, least_strong)
                    planes[3, k, j, w] = majority & ~at_least(total, 64 * w, no_longer_weak)
                    planes[4, k, j, w] = majority & ~at_least(total, 64 * w, no_longer_strong)

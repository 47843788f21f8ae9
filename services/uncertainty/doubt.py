"""Where an ensemble doubts its own label, compiled: bit planes of sums over the models.

With S the sum of the models' uint8 probabilities and 255 N its largest value, the evidence against a label's voxel is
255 N - S inside the label and S outside.
"""

import numpy as np
from numba import njit

from services.core.ensemble import Blocks
from services.core.lanes import at_least, highest
from services.uncertainty.trimmed import Trimmed

PLANES = 5
"""That a scan gives: S above one half; S from the weak and from the strong sum on; 255 N - S likewise.

The last two only where S is above one half."""


def scan(blocks: Blocks, width: int, weak: int, strong: int, planes: Trimmed) -> None:
    """Set the bits of the `PLANES` of the blocks of a slab, rows of `width` voxels; both sums are below half of 255 N.

    The planes are 0 there, and hold the blocks' box. Blocks where S is nowhere `weak` may be left out.
    """
    k, j, w = planes.first
    _scan(blocks.stack, blocks.places, (blocks.start - k, -j, -w), width - 64 * w, weak, strong, planes.words)


@njit(nogil=True, cache=True)
def _scan(stack, places, first, width, weak, strong, planes):  # type: ignore[no-untyped-def]
    """Fill bit planes (plane, k, j, w); `first` is where the slab begins in them, `width` the voxels from there on."""
    models, _, deep, high, wide = stack.shape
    full = 255 * models
    total = np.empty(high * wide, np.uint16)
    # 2 S > 255 N from `half` on.
    half, least_weak, least_strong = np.uint16(full // 2 + 1), np.uint16(weak), np.uint16(strong)
    no_longer_weak, no_longer_strong = np.uint16(full - weak + 1), np.uint16(full - strong + 1)
    for block in np.ndindex(places.shape):
        place = places[block]
        if place < 0:
            continue
        k, j, w = first[0] + deep * block[0], first[1] + high * block[1], first[2] + block[2]
        inside = ~np.uint64(0) >> np.uint64(max(0, wide * (w + 1) - width))
        for by in range(min(deep, planes.shape[1] - k)):
            most = np.int64(0)
            for n in range(models):
                most += np.int64(highest(stack[n, place, by].reshape(-1)))
            if most < weak:
                continue
            total[:] = 0
            for n in range(models):
                rows = stack[n, place, by].reshape(-1)
                for v in range(len(total)):
                    total[v] += rows[v]
            for at in range(min(high, planes.shape[2] - j)):
                more = at_least(total, wide * at, least_weak) & inside
                if more:
                    majority = at_least(total, wide * at, half) & inside
                    row = planes[:, k + by, j + at, w]
                    row[0], row[1], row[2] = majority, more, at_least(total, wide * at, least_strong) & inside
                    row[3] = majority & ~at_least(total, wide * at, no_longer_weak)
                    row[4] = majority & ~at_least(total, wide * at, no_longer_strong)

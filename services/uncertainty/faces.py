"""How large the surface of a mask is, counted in faces of voxels."""

import numpy as np
from numba import njit

from services.core.lanes import popcount
from services.uncertainty.bitplanes import Words


def surface(words: Words, width: int) -> tuple[int, int, int]:
    """Faces along k, j and i between a voxel that is set and one that is not, in rows of `width` voxels."""
    k, j, i = _surface(words, width)
    return int(k), int(j), int(i)


@njit(nogil=True, cache=True)
def _surface(words, width):  # type: ignore[no-untyped-def]
    depth, height, row_words = words.shape
    along_k, along_j, along_i = np.int64(0), np.int64(0), np.int64(0)
    for k in range(depth):
        plane = words[k].reshape(-1)
        if k + 1 < depth:
            after = words[k + 1].reshape(-1)
            for v in range(len(plane)):
                along_k += popcount(plane[v] ^ after[v])
        for v in range(len(plane) - row_words):
            along_j += popcount(plane[v] ^ plane[v + row_words])
        for j in range(height):
            for w in range(row_words):
                word = words[k, j, w]
                after = words[k, j, w + 1] if w + 1 < row_words else np.uint64(0)
                pairs = min(64, width - 1 - 64 * w)
                if pairs > 0:
                    valid = ~np.uint64(0) >> np.uint64(64 - pairs)
                    along_i += popcount((word ^ (word >> np.uint64(1) | after << np.uint64(63))) & valid)
    return along_k, along_j, along_i

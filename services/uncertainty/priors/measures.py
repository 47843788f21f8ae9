"""One pass over an organ's voxels for all that rules count, compiled."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.boxes import Mask

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Measures:
    """Voxel counts of a box (k, j, i) by plane along every axis, and the sums of j and i in every plane of k."""

    by_k: Counts
    by_j: Counts
    by_i: Counts
    sum_j: Counts
    sum_i: Counts

    @property
    def voxels(self) -> int:
        """Number of voxels that are not 0."""
        return int(self.by_k.sum())


def measure(voxels: Mask) -> Measures:
    """The measures of a uint8 box; any value but 0 counts as 1."""
    depth, height, width = voxels.shape
    found = Measures(*(np.zeros(n, np.int64) for n in (depth, height, width, depth, depth)))
    _measure(voxels, found.by_k, found.by_j, found.by_i, found.sum_j, found.sum_i)
    return found


@njit(nogil=True, cache=True)
def _measure(voxels, by_k, by_j, by_i, sum_j, sum_i):  # type: ignore[no-untyped-def]
    depth, height, width = voxels.shape
    for k in range(depth):
        for j in range(height):
            row = voxels[k, j]
            present = np.uint8(0)
            for i in range(width):
                present |= row[i]
            if present:
                count = 0
                for i in range(width):
                    if row[i]:
                        count += 1
                        by_i[i] += 1
                        sum_i[k] += i
                by_k[k] += count
                by_j[j] += count
                sum_j[k] += count * j

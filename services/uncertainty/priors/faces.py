"""How much of an organ's surface lies in each plane between voxels, compiled."""

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.boxes import Mask

Counts = npt.NDArray[np.int64]


def faces(voxels: Mask) -> tuple[Counts, Counts, Counts]:
    """Voxel faces of the surface of a uint8 box (k, j, i) that look along k, j and i.

    Entry n of an axis counts those in the plane between voxels n - 1 and n; outside the box all is 0.
    """
    depth, height, width = voxels.shape
    k, j, i = (np.zeros(n + 1, np.int64) for n in (depth, height, width))
    _faces(voxels, k, j, i)
    return k, j, i


@njit(nogil=True, cache=True)
def _faces(voxels, along_k, along_j, along_i):  # type: ignore[no-untyped-def]
    depth, height, width = voxels.shape
    nothing = np.zeros(width, np.uint8)
    for k in range(depth + 1):
        for j in range(height + 1):
            row = voxels[k, j] if k < depth and j < height else nothing
            below = voxels[k - 1, j] if k > 0 and j < height else nothing
            behind = voxels[k, j - 1] if j > 0 and k < depth else nothing
            differs_below, differs_behind = 0, 0
            for i in range(width):
                differs_below += (row[i] != 0) != (below[i] != 0)
                differs_behind += (row[i] != 0) != (behind[i] != 0)
            along_k[k] += differs_below
            along_j[j] += differs_behind
            if k < depth and j < height and (differs_below or differs_behind or row[0] or row[width - 1]):
                before = False
                for i in range(width):
                    now = row[i] != 0
                    along_i[i] += now != before
                    before = now
                along_i[width] += before

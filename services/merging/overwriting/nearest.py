"""The nearest label of voxels that have none."""

import math

import numpy as np
from numba import njit

from services.core.boxes import Mask
from services.core.geometry import Triple

_FAR = 1 << 60
_UM = 1000


def nearest_labels(labels: Mask, asked: Mask, spacing_mm: Triple) -> tuple[Mask, float]:
    """The nearest label of every voxel (k, j, i), where 0 is none; and how far off in mm the furthest of `asked` is.

    Distances are between centres of voxels, exact, in whole micrometres, so that which of two labels is as near, and
    therefore the lower one wins, does not depend on the order of the axes. `spacing_mm` is along i, j and k. Infinitely
    far off if there is no label. Takes eight bytes a voxel.
    """
    found = labels.copy()
    squared_um2 = np.where(labels != 0, 0, _FAR)
    i, j, k = (round(size * _UM) for size in spacing_mm)
    _spread(squared_um2, found, i)
    _spread(squared_um2.transpose(0, 2, 1), found.transpose(0, 2, 1), j)
    _spread(squared_um2.transpose(1, 2, 0), found.transpose(1, 2, 0), k)
    furthest = int(squared_um2[asked != 0].max(initial=0))
    return found, math.inf if furthest >= _FAR else math.sqrt(furthest) / _UM


@njit(nogil=True, cache=True)
def _spread(squared, labels, step):  # type: ignore[no-untyped-def]
    """One axis of a separable distance transform: the last one, whose voxels lie `step` apart."""
    depth, height, width = squared.shape
    before, names = np.empty(width, np.int64), np.empty(width, np.uint8)
    for k in range(depth):
        for j in range(height):
            least, most = _FAR, 0
            for x in range(width):
                before[x], names[x] = squared[k, j, x], labels[k, j, x]
                least, most = min(least, before[x]), max(most, before[x])
            if least >= _FAR or most == 0:
                continue
            for x in range(width):
                best, label, reach = before[x], names[x], 1
                while reach * reach * step * step <= best and (x >= reach or x + reach < width):
                    for other in (x - reach, x + reach):
                        if 0 <= other < width:
                            there = before[other] + reach * reach * step * step
                            if there < best or (there == best and names[other] < label):
                                best, label = there, names[other]
                    reach += 1
                squared[k, j, x], labels[k, j, x] = best, label

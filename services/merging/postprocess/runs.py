"""What filling of holes asks of the runs of a mask (`services.core.components.Runs`), compiled."""

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.boxes import Mask
from services.core.components import Runs


def meets(voxels: Mask, runs: Runs) -> npt.NDArray[np.bool_]:
    """Per component whether it holds a voxel that is set in `voxels` (k, j, i)."""
    found = np.zeros(runs.count, np.bool_)
    _meet(voxels, runs.rows, runs.begin, runs.end, runs.component, found)
    return found


def reaches_border(shape: tuple[int, ...], runs: Runs) -> npt.NDArray[np.bool_]:
    """Per component whether it holds a voxel on a face of the box (k, j, i)."""
    found = np.zeros(runs.count, np.bool_)
    _reach(shape, runs.rows, runs.begin, runs.end, runs.component, found)
    return found


@njit(nogil=True, cache=True)
def _meet(voxels, rows, begin, end, component, found):  # type: ignore[no-untyped-def]
    depth, height, _ = voxels.shape
    for k in range(depth):
        for j in range(height):
            for run in range(rows[k * height + j], rows[k * height + j + 1]):
                for i in range(begin[run], end[run]):
                    if voxels[k, j, i] != 0:
                        found[component[run]] = True


@njit(nogil=True, cache=True)
def _reach(shape, rows, begin, end, component, found):  # type: ignore[no-untyped-def]
    depth, height, width = shape
    for k in range(depth):
        for j in range(height):
            is_outer = k == 0 or k == depth - 1 or j == 0 or j == height - 1
            for run in range(rows[k * height + j], rows[k * height + j + 1]):
                if is_outer or begin[run] == 0 or end[run] == width:
                    found[component[run]] = True

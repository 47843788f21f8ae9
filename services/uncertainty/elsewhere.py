"""Where no patient has an organ: what lies below both kidneys is no detached part of one of the upper abdomen.

Networks take a full bladder or bowel for liver; in the fit such parts are too few for a weight to learn it.
"""

import numpy as np
import numpy.typing as npt

from services.core.boxes import Boxed
from services.core.geometry import Geometry

UPPER_ABDOMEN = frozenset({"gall_bladder", "liver", "pancreas", "spleen", "stomach"})
BELOW_MM = 20.0

Index = npt.NDArray[np.int64]


def floor_mm(kidneys: tuple[Boxed, Boxed], grid: Geometry) -> float | None:
    """The lower end (S, in mm) of the lower kidney; None unless both are there."""
    if not all(kidney.voxels.size for kidney in kidneys):
        return None
    starts = [np.array(kidney.corner) for kidney in kidneys]
    ends = [start + kidney.voxels.shape - 1 for start, kidney in zip(starts, kidneys, strict=True)]
    return min(_heights_mm(start, end, grid)[0] for start, end in zip(starts, ends, strict=True))


def is_elsewhere(organ: str, first: Index, last: Index, floor: float | None, grid: Geometry) -> bool:
    """Whether a region that touches no label, from voxel `first` to `last` (k, j, i), is none of that organ's."""
    if floor is None or organ not in UPPER_ABDOMEN:
        return False
    return _heights_mm(first, last, grid)[1] < floor - BELOW_MM


def _heights_mm(first: Index, last: Index, grid: Geometry) -> tuple[float, float]:
    """The lowest and the highest S of the voxels of a box."""
    *along, offset = grid.matrix[2]
    ends = np.sort(np.stack([first[::-1] * along, last[::-1] * along]), axis=0).sum(axis=1) + offset
    return float(ends[0]), float(ends[1])

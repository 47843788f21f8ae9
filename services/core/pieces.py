"""Which 26-connected pieces of an organ's mask belong to it, by what `organs` says of it."""

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.boxes import Boxed, Mask, crop
from services.core.components import Runs, labelled_runs, largest_component
from services.core.organs import Organ, Step


def with_usual(mask: Boxed, organ: Organ, voxel_mm3: float, orientation: str = "RAS") -> Boxed:
    """The pieces that the organ's own steps leave, 0/1 in their smallest box; see `largest_component` for the last."""
    if Step.ISLANDS in organ.steps:
        mask = without_islands(mask, organ, voxel_mm3)
    if Step.PLAUSIBLE in organ.steps:
        mask = plausible(mask, organ, voxel_mm3)
    if Step.LARGEST in organ.steps:
        return largest_component(mask, orientation)
    return crop(mask.voxels, mask.corner)


def plausible(mask: Boxed, organ: Organ, voxel_mm3: float) -> Boxed:
    """The pieces of at least the organ's `piece_share` of the largest one's volume, in the same box."""
    runs = labelled_runs(mask.voxels)
    mm3 = sizes(runs) * voxel_mm3
    return _kept(mask, runs, mm3 >= organ.piece_share * mm3.max(initial=0))


def without_islands(mask: Boxed, organ: Organ, voxel_mm3: float) -> Boxed:
    """The pieces of at least the organ's `island_mm3`, and the largest whatever its size, in the same box."""
    runs = labelled_runs(mask.voxels)
    mm3 = sizes(runs) * voxel_mm3
    return _kept(mask, runs, (mm3 >= organ.island_mm3) | (mm3 == mm3.max(initial=0)))


def sizes(runs: Runs) -> npt.NDArray[np.int64]:
    """Voxels of every component."""
    counts = np.zeros(runs.count, np.int64)
    _count(runs.begin, runs.end, runs.component, counts)
    return counts


def with_runs(voxels: Mask, runs: Runs, chosen: npt.NDArray[np.bool_]) -> Mask:
    """`voxels` (k, j, i), changed in place to 1 in the runs of the chosen components."""
    _fill(voxels, runs.rows, runs.begin, runs.end, runs.component, chosen)
    return voxels


def _kept(mask: Boxed, runs: Runs, stays: npt.NDArray[np.bool_]) -> Boxed:
    """The mask itself where every piece stays."""
    return mask if stays.all() else Boxed(mask.corner, with_runs(np.zeros_like(mask.voxels), runs, stays))


@njit(nogil=True, cache=True)
def _count(begin, end, component, counts):  # type: ignore[no-untyped-def]
    for run in range(len(begin)):
        counts[component[run]] += end[run] - begin[run]


@njit(nogil=True, cache=True)
def _fill(voxels, rows, begin, end, component, chosen):  # type: ignore[no-untyped-def]
    depth, height, _ = voxels.shape
    for k in range(depth):
        for j in range(height):
            for run in range(rows[k * height + j], rows[k * height + j + 1]):
                if chosen[component[run]]:
                    voxels[k, j, begin[run] : end[run]] = 1

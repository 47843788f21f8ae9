"""Which of an organ's 26-connected pieces stay."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from services.core.boxes import Boxed
from services.core.components import labelled_runs, largest_component
from services.core.geometry import Geometry
from services.merging.layers import Layers
from services.merging.organs import Organ, organ
from services.merging.postprocess.runs import sizes, with_runs

_Keeps = Callable[[npt.NDArray[np.float64], Organ], npt.NDArray[np.bool_]]


def keep_largest(organs: Sequence[str], layers: Layers, grid: Geometry) -> Iterator[tuple[str, Boxed]]:
    """Only the largest piece; of equal ones the one that comes first in the patient."""
    for name in organs:
        yield name, largest_component(layers[name].mask.mask, grid.orientation)


def keep_plausible(organs: Sequence[str], layers: Layers, grid: Geometry) -> Iterator[tuple[str, Boxed]]:
    """The pieces of at least the organ's `piece_share` of the largest one's volume."""
    return _kept(organs, layers, grid, lambda mm3, facts: mm3 >= facts.piece_share * mm3.max())


def drop_islands(organs: Sequence[str], layers: Layers, grid: Geometry) -> Iterator[tuple[str, Boxed]]:
    """The pieces of at least the organ's `island_mm3`, and the largest whatever its size."""
    return _kept(organs, layers, grid, lambda mm3, facts: (mm3 >= facts.island_mm3) | (mm3 == mm3.max()))


def _kept(organs: Sequence[str], layers: Layers, grid: Geometry, keeps: _Keeps) -> Iterator[tuple[str, Boxed]]:
    for name in organs:
        mask = layers[name].mask.mask
        runs = labelled_runs(mask.voxels)
        if runs.count > 1:
            stays = keeps(sizes(runs) * grid.voxel_volume_mm3, organ(name))
            if not stays.all():
                yield name, Boxed(mask.corner, with_runs(np.zeros_like(mask.voxels), runs, stays))

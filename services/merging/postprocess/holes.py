"""Closed holes of organs that are solid."""

from collections.abc import Iterator, Sequence

import numpy as np

from services.core.boxes import Boxed
from services.core.components import labelled_runs
from services.core.geometry import Geometry
from services.core.organs import organ
from services.core.pieces import sizes, with_runs
from services.merging.layers import Layers, paint
from services.merging.postprocess.runs import meets, reaches_border


def fill_holes(organs: Sequence[str], layers: Layers, grid: Geometry) -> Iterator[tuple[str, Boxed]]:
    """Holes of at most the organ's `hole_mm3` are filled, unless another organ has a voxel in them.

    A hole is a 6-connected part of what the mask does not hold that reaches no face of the mask's box: what is open to
    the outside, or to what lies beyond the field of view, is none.
    """
    for name in organs:
        mask = layers[name].mask.mask
        runs = labelled_runs(mask.voxels ^ np.uint8(1), corners=False)
        is_hole = ~reaches_border(mask.voxels.shape, runs)
        is_hole &= sizes(runs) * grid.voxel_volume_mm3 <= organ(name).hole_mm3
        if not is_hole.any():
            continue
        others = Boxed(mask.corner, np.zeros_like(mask.voxels))
        for other, layer in layers.items():
            if other != name:
                paint(others, layer.mask.mask, 1)
        is_hole &= ~meets(others.voxels, runs)
        if is_hole.any():
            yield name, Boxed(mask.corner, with_runs(mask.voxels, runs, is_hole))

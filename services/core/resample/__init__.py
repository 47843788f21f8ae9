"""Trilinear interpolation between a CT's own grid and the network grid, both ways.

Positions are fixed-point numbers with 32 fractional bits, made from an affine that was first brought to the orientation
of the network grid. So a CT whose axes are flipped or re-ordered, with its header following, gives the same result bit
for bit. Grids that are parallel to within `PARALLEL_VOXELS` take a path that works row by row; all others go voxel by
voxel. Both do the same arithmetic in the same order (float32: along z, then y, then x), so parallel grids give the same
values on either.

A position up to half a voxel beyond the outermost centres takes the value of the edge; further out is outside.
"""

import numpy as np

from services.core.geometry import Geometry, network_grid
from services.core.resample.alignment import PARALLEL_VOXELS
from services.core.resample.ct_to_grid import AIR_HU, to_grid
from services.core.resample.grid_to_ct import Slab, to_ct_mask

__all__ = ["AIR_HU", "PARALLEL_VOXELS", "Slab", "to_ct_mask", "to_grid", "warm"]


def warm() -> None:
    """Compile or load every kernel, so that no volume waits for the compiler."""
    for tilt in (0.0, 0.5):
        ct = Geometry((2, 2, 2), (1.0, 0.0, tilt, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0))
        grid = network_grid(ct)
        to_grid(np.zeros((2, 2, 2), np.int16), ct, grid)
        to_ct_mask([(0, np.full((1, *grid.array_shape), 255, np.uint8))], grid, ct, weights=[1])

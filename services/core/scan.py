"""From a CT file to another grid, and what that costs."""

import numpy as np
import numpy.typing as npt

from services.core.geometry import Geometry, require_same
from services.core.nifti import read_ct
from services.core.resample import to_grid

INT16_BYTES = 2
FLOAT64_BYTES = 8
FIXED_BYTES = 64 * 2**20
"""Buffers of the decompressor, the file's chunks under way, and the like."""


def reading_bytes(file_bytes: int, ct: Geometry, grid: Geometry) -> int:
    """Peak memory of `on_grid`: the file twice (its chunks, then the whole), the CT, a few slices and the result."""
    slices = 3 * FLOAT64_BYTES * ct.shape[0] * ct.shape[1]
    return 2 * file_bytes + INT16_BYTES * (ct.voxel_count + grid.voxel_count) + slices + FIXED_BYTES


def on_grid(file: bytes, recorded: Geometry, grid: Geometry, volume: str) -> npt.NDArray[np.int16]:
    """The CT in a NIfTI file of any orientation and voxel type, as HU at the voxel centres of `grid`, int16 (z, y, x).

    Raises GEOMETRY_MISMATCH if the file does not lie where storage recorded it, and what `read_ct` raises.
    """
    ct = read_ct(file)
    require_same(ct.geometry, recorded, first_name=f"the file of {volume}", second_name="its record")
    return to_grid(ct.voxels, ct.geometry, grid)

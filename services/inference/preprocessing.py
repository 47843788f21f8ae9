"""From a CT file to the network grid, and what that costs."""

import numpy as np
import numpy.typing as npt

from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, network_grid, require_same
from services.core.nifti import read_ct
from services.core.resample import to_grid

INT16_BYTES = 2
FLOAT64_BYTES = 8
MAX_GRID_BYTES = 2**31 - 2**20
"""What one gRPC message to Triton can carry beside its header."""
FIXED_BYTES = 64 * 2**20
"""Buffers of the decompressor, the file's chunks under way, and the like."""


def reading_bytes(file_bytes: int, ct: Geometry, grid: Geometry) -> int:
    """Peak memory of `on_grid`: the file twice (its chunks, then the whole), the CT, a few slices and the result."""
    slices = 3 * FLOAT64_BYTES * ct.shape[0] * ct.shape[1]
    return 2 * file_bytes + INT16_BYTES * (ct.voxel_count + grid.voxel_count) + slices + FIXED_BYTES


def predicting_bytes(grid: Geometry, channels: int) -> int:
    """Peak memory of one call to Triton: the volume, its message twice, and an answer that did not compress, thrice."""
    return (3 * INT16_BYTES + 3 * channels) * grid.voxel_count + FIXED_BYTES


def grid_for(ct: Geometry, spacing_mm: float, volume: str) -> Geometry:
    """The network grid of a CT. Raises VOLUME_TOO_LARGE if it cannot be one, or not be sent in one message."""
    most = MAX_GRID_BYTES // INT16_BYTES
    try:
        grid = network_grid(ct, spacing_mm)
    except AtlasError as error:
        raise _too_large(volume, f"at {spacing_mm} mm it has too many: {error.message}") from error
    if grid.voxel_count > most:
        raise _too_large(volume, f"at {spacing_mm} mm it has {grid.voxel_count:,}, of which {most:,} can be sent.")
    return grid


def _too_large(volume: str, why: str) -> AtlasError:
    return AtlasError(
        Reason.VOLUME_TOO_LARGE,
        f"{volume} has more voxels than a model can be given: {why}",
        field=volume,
        remedy="Crop the volume, or mend its header if the voxel size is wrong.",
    )


def on_grid(file: bytes, recorded: Geometry, grid: Geometry, volume: str) -> npt.NDArray[np.int16]:
    """The CT in a NIfTI file of any orientation and voxel type, as HU at the voxel centres of `grid`, int16 (z, y, x).

    Raises GEOMETRY_MISMATCH if the file does not lie where storage recorded it, and what `read_ct` raises.
    """
    ct = read_ct(file)
    require_same(ct.geometry, recorded, first_name=f"the file of {volume}", second_name="its record")
    return to_grid(ct.voxels, ct.geometry, grid)

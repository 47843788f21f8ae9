"""The network grid of a CT, and what a prediction on it costs."""

from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, network_grid
from services.core.scan import FIXED_BYTES, INT16_BYTES

MAX_GRID_BYTES = 2**31 - 2**20
"""What one gRPC message to Triton can carry beside its header."""


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

"""How much memory a score or a check takes at most, known before anything is read."""

from services.core.arrayfile import SLAB
from services.core.geometry import Geometry


def needed_bytes(grid: Geometry, *, models: int, organs: int, compressed_bytes: int) -> int:
    """Upper bound for one `Score`, whatever the voxels are.

    Ordinary predictions need a small part of it: masks and heat are held as boxes around the organs, and the bound
    takes every box as large as the grid and the heat as incompressible.
    """
    slab = min(SLAB, grid.array_shape[0]) * grid.shape[0] * grid.shape[1]
    masks_and_heat = 2 * organs * grid.voxel_count
    # One organ at work: its mask, the runs of it if every second voxel is set, and its largest component.
    organ = 10 * grid.voxel_count
    # The slab of every model and its copy, and the float64 heat of one slab with its temporaries.
    slabs = slab * (2 * models + 24)
    # While a file is put together from chunks it is there twice.
    return 2 * compressed_bytes + masks_and_heat + organ + slabs


def needed_to_check_bytes(grid: Geometry, *, organs: int, compressed_bytes: int) -> int:
    """Upper bound for one `CheckLabels`, whatever the voxels are; the bound takes every box as large as the grid."""
    # One organ at work: a mask, its background, the runs of that if every second voxel is set, its pieces, and what a
    # rule points at, in two postures.
    organ = 16 * grid.voxel_count
    return 2 * compressed_bytes + organs * grid.voxel_count + organ

"""How much memory a score or a check takes at most, known before anything is read."""

import math

from services.core.blocks import padded
from services.core.geometry import Geometry
from services.core.scan import INT16_BYTES, reading_bytes
from services.uncertainty.priors.blocks import block_size


def needed_bytes(grid: Geometry, *, models: int, organs: int, compressed_bytes: int) -> int:
    """Upper bound for one `Score`, whatever the voxels are.

    Ordinary predictions need a small part of it: the bound takes every voxel as flagged and the heat as incompressible.
    """
    slab = math.prod(padded(grid.array_shape))
    # Between the organs: a mask and three bits a voxel each, probabilities of a byte a voxel in all, the stored heat.
    held = (organs + 3 * organs / 8 + 1 + organs) * grid.voxel_count
    # One organ at work: its probabilities, bit planes, its mask, the runs of that if every second voxel is set, and its
    # largest component; or, later, its probabilities, float64 heat and stored heat; or what a rule needs.
    organ = (16 + models) * grid.voxel_count
    # The slab of every model, what is gathered from it, and the slab that is compressed, before and after it is cut.
    slabs = slab * (2 * models + 3)
    # While a file is put together from chunks it is there twice.
    return int(2 * compressed_bytes + held + organ + slabs)


def with_scan_bytes(needed: int, file_bytes: int, ct: Geometry, grid: Geometry) -> int:
    """The same for a profile that reads the CT, whose file and own voxels are let go before the predictions come.

    What stays is its HU thrice: on the grid, and in one organ's box before and after they are averaged. The regions
    that it points at are two more planes of bits, and their probabilities one more byte a voxel a model.
    """
    return max(reading_bytes(file_bytes, ct, grid), needed + (3 * INT16_BYTES + 16) * grid.voxel_count)


def needed_to_check_bytes(grid: Geometry, *, organs: int, compressed_bytes: int) -> int:
    """Upper bound for one `CheckLabels`, whatever the voxels are; the bound takes every box as large as the grid."""
    # One organ at work: a mask, its background, the runs of that if every second voxel is set, eight pieces that each
    # reach through the whole grid, and what a rule points at, in two postures.
    organ = 24 * grid.voxel_count
    # A block is known by 5 bytes; while the points of a surface are listed, by a hundred.
    blocks = -(-grid.voxel_count // math.prod(block_size(grid)))
    return 2 * compressed_bytes + organs * (grid.voxel_count + 5 * blocks) + organ + 100 * blocks

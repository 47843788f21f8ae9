"""How much memory a merge takes at most, known before anything is read."""

from services.core import arrayfile
from services.core.geometry import Geometry


def needed_bytes(ct: Geometry, grid: Geometry | None, *, organs: int, compressed_bytes: int, readers: int = 0) -> int:
    """Upper bound for one `Merge`, whatever the voxels are; `grid` is that of the predictions, if there are any, and
    `readers` the most that are brought together for one organ.

    Organs are merged one after the other: a mask and its components are in memory at once, the other masks at a bit a
    voxel with what was added to them at another, and those that are written compressed (a 0/1 mask of pure noise takes
    less than half a byte a voxel, disagreement less than one).
    """
    # The mask, its runs if every second voxel is set, the mask after the step, the one before, and what differs.
    at_work = 14 * ct.voxel_count
    packed = organs * ct.voxel_count // 4
    done = (organs + 2) * ct.voxel_count // 2
    # Their masks, also in one box, who sees the organ where, and what follows from it; and where they disagree.
    reading = (2 * readers + 8 + organs) * ct.voxel_count if readers else 0
    # Slabs of 32 slices and one more: those of up to 16 models, read and in order, and their sums.
    slabs = 34 * 33 * grid.shape[0] * grid.shape[1] if grid else 0
    # STAPLE keeps who sees the organ where on the models' grid.
    slabs += 3 * grid.voxel_count if grid else 0
    # Masks, source map and disagreement are written side by side.
    slabs += 3 * arrayfile.writer_bytes(ct)
    # While a file is put together from chunks it is there twice.
    return 2 * compressed_bytes + max(at_work, reading) + packed + done + slabs


def needed_to_compare_bytes(ct: Geometry, *, compressed_bytes: int) -> int:
    """What one `Compare` of organs needs, one organ after the other; masks of pure noise would take more.

    A corner of a surface takes 56 bytes: its place, area, distance and order. The surfaces of an organ cross a few
    hundredths of the corners; an eighth is counted.
    """
    masks_and_bits = 2 * ct.voxel_count + 2 * ct.voxel_count // 4
    surfaces = 56 * ct.voxel_count // 8
    return 2 * compressed_bytes + masks_and_bits + surfaces

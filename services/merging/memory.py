"""How much memory a merge takes at most, known before anything is read."""

from services.core.geometry import Geometry


def needed_bytes(ct: Geometry, grid: Geometry | None, *, organs: int, compressed_bytes: int) -> int:
    """Upper bound for one `Merge`, whatever the voxels are; `grid` is that of the predictions, if there are any.

    Organs are merged one after the other: a mask, its components and the label map are in memory at once, and the masks
    that are done, compressed (a 0/1 mask of pure noise takes less than half a byte a voxel).
    """
    # The mask, its runs if every second voxel is set, its largest component, and combined_labels.
    at_work = 11 * ct.voxel_count
    done = (organs + 1) * ct.voxel_count // 2
    # Slabs of 32 slices and one more: those of up to 16 models, read and in order, and their sums.
    slabs = 34 * 33 * grid.shape[0] * grid.shape[1] if grid else 0
    # While a file is put together from chunks it is there twice.
    return 2 * compressed_bytes + at_work + done + slabs


def needed_to_compare_bytes(ct: Geometry, *, compressed_bytes: int) -> int:
    """What one `Compare` of organs needs, one organ after the other; masks of pure noise would take more.

    A corner of a surface takes 56 bytes: its place, area, distance and order. The surfaces of an organ cross a few
    hundredths of the corners; an eighth is counted.
    """
    masks_and_bits = 2 * ct.voxel_count + 2 * ct.voxel_count // 4
    surfaces = 56 * ct.voxel_count // 8
    return 2 * compressed_bytes + masks_and_bits + surfaces

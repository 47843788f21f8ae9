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
    sums = 4 * grid.voxel_count if grid else 0
    # While a file is put together from chunks it is there twice.
    return 2 * compressed_bytes + at_work + done + sums

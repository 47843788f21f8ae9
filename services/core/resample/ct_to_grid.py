"""A CT on the network grid."""

import numpy as np
import numpy.typing as npt

from services.core.geometry import Geometry
from services.core.resample.alignment import align, line, path, require_shape, unsigned
from services.core.resample.sampling import sample_rows, sample_voxels

AIR_HU = -1024

Int16Volume = npt.NDArray[np.int16]


def to_grid(ct: Int16Volume, ct_geometry: Geometry, grid: Geometry, *, outside: int = AIR_HU) -> Int16Volume:
    """The CT at the voxel centres of `grid`, int16 (z, y, x), in the CT's own unit (HU).

    Rounds half to even; voxels outside the CT get `outside`. Raises GEOMETRY_MISMATCH if `ct` does not have the shape
    of `ct_geometry`.
    """
    require_shape(ct.shape, ct_geometry, "ct")
    aligned = align(ct_geometry, grid)
    way = path(grid, aligned.geometry)
    out = np.full(grid.array_shape, outside, np.int16)
    flat = np.ascontiguousarray(ct).reshape(-1)
    if not way.is_parallel:
        shape = np.array(aligned.geometry.array_shape, np.int64)
        sample_voxels(flat, aligned.offset, aligned.strides, shape, way.start, way.step, out)
        return out
    z, y, x = (line(way, axis, grid, aligned.geometry) for axis in range(3))
    offset, strides, width = aligned.offset, aligned.strides.copy(), aligned.geometry.shape[0]
    low, high = unsigned(x.low), unsigned(x.high)
    if strides[2] == -1:
        # Read rows in the order of memory, which the compiler vectorises, and turn the few look-ups round instead.
        offset, strides[2], low, high = (
            offset - (width - 1),
            1,
            unsigned(width - 1 - x.low),
            unsigned(width - 1 - x.high),
        )
    spans = np.array([z.first, z.stop, y.first, y.stop, x.first, x.stop], np.int64)
    sample_rows(
        flat, offset, strides, width, z.low, z.high, z.weight, y.low, y.high, y.weight, low, high, x.weight, spans, out
    )
    return out

"""The loops of `to_grid`, compiled.

They run without the interpreter's lock, one thread each: several volumes at once use a machine better than several
threads on one.
"""

import numpy as np
from numba import njit

from services.core.resample.fixed_point import HALF, ONE, around, between, lerp, trilinear


@njit(nogil=True, cache=True)
def sample_rows(flat, offset, strides, width, zl, zh, zw, yl, yh, yw, xl, xh, xw, spans, out):  # type: ignore[no-untyped-def]
    """Fill `out` (z, y, x) with the CT `flat`, int16, whose rows have `width` voxels; parallel grids.

    `zl`, `zh`, `zw` and so on are, per target index, the two source indices around it and the weight of the second;
    `spans` holds first and stop of z, y and x within which a target is inside the CT.
    """
    row = np.empty(width, np.float32)
    sz, sy, sx = strides
    for z in range(spans[0], spans[1]):
        for y in range(spans[2], spans[3]):
            ll, lh = offset + zl[z] * sz + yl[y] * sy, offset + zl[z] * sz + yh[y] * sy
            hl, hh = offset + zh[z] * sz + yl[y] * sy, offset + zh[z] * sz + yh[y] * sy
            wz, wy = zw[z], yw[y]
            if sx == 1:
                a, b, c, d = flat[ll : ll + width], flat[hl : hl + width], flat[lh : lh + width], flat[hh : hh + width]
                for x in range(width):
                    row[x] = lerp(
                        lerp(np.float32(a[x]), np.float32(b[x]), wz), lerp(np.float32(c[x]), np.float32(d[x]), wz), wy
                    )
            else:
                for x in range(width):
                    row[x] = lerp(
                        lerp(np.float32(flat[ll + x * sx]), np.float32(flat[hl + x * sx]), wz),
                        lerp(np.float32(flat[lh + x * sx]), np.float32(flat[hh + x * sx]), wz),
                        wy,
                    )
            line = out[z, y]
            for x in range(spans[4], spans[5]):
                line[x] = np.int16(np.rint(lerp(row[xl[x]], row[xh[x]], xw[x])))


@njit(nogil=True, cache=True)
def sample_voxels(flat, offset, strides, shape, start, step, out):  # type: ignore[no-untyped-def]
    """Fill `out` (z, y, x) with the CT `flat`, int16, of `shape` where it is inside; any grids.

    The position of a target voxel is start + step @ (z, y, x).
    """
    sz, sy, sx = strides
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            pz = start[0] + step[0, 0] * z + step[0, 1] * y
            py = start[1] + step[1, 0] * z + step[1, 1] * y
            px = start[2] + step[2, 0] * z + step[2, 1] * y
            first, stop = 0, out.shape[2]
            first, stop = between(pz, step[0, 2], -HALF, (shape[0] - 1) * ONE + HALF, first, stop)
            first, stop = between(py, step[1, 2], -HALF, (shape[1] - 1) * ONE + HALF, first, stop)
            first, stop = between(px, step[2, 2], -HALF, (shape[2] - 1) * ONE + HALF, first, stop)
            for x in range(first, stop):
                zl, zh, zw = around(pz + step[0, 2] * x, shape[0] - 1)
                yl, yh, yw = around(py + step[1, 2] * x, shape[1] - 1)
                xl, xh, xw = around(px + step[2, 2] * x, shape[2] - 1)
                value = trilinear(flat, offset, sz, sy, sx, zl, zh, zw, yl, yh, yw, xl, xh, xw)
                out[z, y, x] = np.int16(np.rint(value))

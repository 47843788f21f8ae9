"""The loops of `services.core.resample`, compiled: fixed-point positions, float32 along z, then y, then x.

A volume is walked as its flat array with an offset and strides (z, y, x), which may be negative. They run without the
interpreter's lock, one thread each: several volumes at once use a machine better than several threads on one.
"""

import numpy as np
from numba import njit

BITS = 32
ONE = 1 << BITS
HALF = 1 << (BITS - 1)
WEIGHT_SHIFT = BITS - 24  # float32 holds 24 bits exactly
WEIGHT_UNIT = np.float32(2.0**-24)


@njit(nogil=True, cache=True)
def _lerp(low, high, weight):  # type: ignore[no-untyped-def]
    return low + (high - low) * weight


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
                    row[x] = _lerp(
                        _lerp(np.float32(a[x]), np.float32(b[x]), wz), _lerp(np.float32(c[x]), np.float32(d[x]), wz), wy
                    )
            else:
                for x in range(width):
                    row[x] = _lerp(
                        _lerp(np.float32(flat[ll + x * sx]), np.float32(flat[hl + x * sx]), wz),
                        _lerp(np.float32(flat[lh + x * sx]), np.float32(flat[hh + x * sx]), wz),
                        wy,
                    )
            line = out[z, y]
            for x in range(spans[4], spans[5]):
                line[x] = np.int16(np.rint(_lerp(row[xl[x]], row[xh[x]], xw[x])))


@njit(nogil=True, cache=True)
def _between(start, step, low, high, first, stop):  # type: ignore[no-untyped-def]
    """The part of range(first, stop) where low <= start + step * index <= high, all fixed-point."""
    if step == 0:
        return (first, stop) if low <= start <= high else (first, first)
    if step < 0:
        start, step, low, high = -start, -step, -high, -low
    return max(first, -((start - low) // step)), min(stop, (high - start) // step + 1)


@njit(nogil=True, cache=True)
def _around(position, last):  # type: ignore[no-untyped-def]
    """Indices around a fixed-point position clamped to [0, last], and the weight of the second."""
    position = min(max(position, 0), last << BITS)
    low = position >> BITS
    return low, min(low + 1, last), np.float32((position & (ONE - 1)) >> WEIGHT_SHIFT) * WEIGHT_UNIT


@njit(nogil=True, cache=True)
def _trilinear(flat, offset, sz, sy, sx, zl, zh, zw, yl, yh, yw, xl, xh, xw):  # type: ignore[no-untyped-def]
    ll, lh = offset + zl * sz + yl * sy, offset + zl * sz + yh * sy
    hl, hh = offset + zh * sz + yl * sy, offset + zh * sz + yh * sy
    xl *= sx
    xh *= sx
    left = _lerp(
        _lerp(np.float32(flat[ll + xl]), np.float32(flat[hl + xl]), zw),
        _lerp(np.float32(flat[lh + xl]), np.float32(flat[hh + xl]), zw),
        yw,
    )
    right = _lerp(
        _lerp(np.float32(flat[ll + xh]), np.float32(flat[hl + xh]), zw),
        _lerp(np.float32(flat[lh + xh]), np.float32(flat[hh + xh]), zw),
        yw,
    )
    return _lerp(left, right, xw)


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
            first, stop = _between(pz, step[0, 2], -HALF, (shape[0] - 1) * ONE + HALF, first, stop)
            first, stop = _between(py, step[1, 2], -HALF, (shape[1] - 1) * ONE + HALF, first, stop)
            first, stop = _between(px, step[2, 2], -HALF, (shape[2] - 1) * ONE + HALF, first, stop)
            for x in range(first, stop):
                zl, zh, zw = _around(pz + step[0, 2] * x, shape[0] - 1)
                yl, yh, yw = _around(py + step[1, 2] * x, shape[1] - 1)
                xl, xh, xw = _around(px + step[2, 2] * x, shape[2] - 1)
                value = _trilinear(flat, offset, sz, sy, sx, zl, zh, zw, yl, yh, yw, xl, xh, xw)
                out[z, y, x] = np.int16(np.rint(value))


@njit(nogil=True, cache=True)
def spans_above(sums, threshold):  # type: ignore[no-untyped-def]
    """Per row (z, y) the half-open range of columns that holds all x with 2 * sums > threshold; (0, 0) if none."""
    depth, height, width = sums.shape
    spans = np.zeros((depth, height, 2), np.int64)
    for z in range(depth):
        for y in range(height):
            row = sums[z, y]
            peak = np.uint16(0)
            for x in range(width):
                peak = max(peak, row[x])
            if 2 * np.int64(peak) > threshold:
                first, last = 0, width - 1
                while 2 * np.int64(row[first]) <= threshold:
                    first += 1
                while 2 * np.int64(row[last]) <= threshold:
                    last -= 1
                spans[z, y, 0], spans[z, y, 1] = first, last + 1
    return spans


@njit(nogil=True, cache=True)
def mask_rows(sums, spans, threshold, zl, zh, zw, yl, yh, yw, xl, xh, xw, begin, end, ranges, offset, strides, flat):  # type: ignore[no-untyped-def]
    """Set the mask `flat` to 1 where the interpolated `sums` are above the threshold; parallel grids.

    `spans` is that of `spans_above`; target columns from `begin[g]` to `end[h]` are those that source columns g to h
    have influence on; `ranges` holds first and stop of z and y within which a target is inside the grid.
    """
    width = sums.shape[2]
    row = np.empty(width, np.float32)
    sz, sy, sx = strides
    for z in range(ranges[0], ranges[1]):
        for y in range(ranges[2], ranges[3]):
            first, stop = width, 0
            for gz in (zl[z], zh[z]):
                for gy in (yl[y], yh[y]):
                    if spans[gz, gy, 1] > 0:
                        first, stop = min(first, spans[gz, gy, 0]), max(stop, spans[gz, gy, 1])
            if first >= stop:
                continue
            a, b, c, d = sums[zl[z], yl[y]], sums[zh[z], yl[y]], sums[zl[z], yh[y]], sums[zh[z], yh[y]]
            wz, wy = zw[z], yw[y]
            for x in range(max(first - 1, 0), min(stop + 1, width)):
                row[x] = _lerp(
                    _lerp(np.float32(a[x]), np.float32(b[x]), wz), _lerp(np.float32(c[x]), np.float32(d[x]), wz), wy
                )
            base = offset + z * sz + y * sy
            for x in range(begin[first], end[stop - 1]):
                flat[base + x * sx] = _lerp(row[xl[x]], row[xh[x]], xw[x]) > threshold


@njit(nogil=True, cache=True)
def mask_voxels(sums, box, threshold, start, step, shape, offset, strides, flat):  # type: ignore[no-untyped-def]
    """Set the mask `flat`, of `shape`, to 1 where the interpolated `sums` are above the threshold; any grids.

    `box` holds first and stop, along z, y and x, of the source voxels above the threshold.
    """
    depth, height, width = sums.shape
    source = sums.reshape(-1)
    sz, sy, sx = strides
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for axis in range(3):
        last = sums.shape[axis] - 1
        low[axis] = (box[axis, 0] - 1) * ONE if box[axis, 0] > 0 else -HALF
        high[axis] = box[axis, 1] * ONE if box[axis, 1] <= last else last * ONE + HALF
    for z in range(shape[0]):
        for y in range(shape[1]):
            pz = start[0] + step[0, 0] * z + step[0, 1] * y
            py = start[1] + step[1, 0] * z + step[1, 1] * y
            px = start[2] + step[2, 0] * z + step[2, 1] * y
            first, stop = np.int64(0), shape[2]
            first, stop = _between(pz, step[0, 2], low[0], high[0], first, stop)
            first, stop = _between(py, step[1, 2], low[1], high[1], first, stop)
            first, stop = _between(px, step[2, 2], low[2], high[2], first, stop)
            base = offset + z * sz + y * sy
            for x in range(first, stop):
                zl, zh, zw = _around(pz + step[0, 2] * x, depth - 1)
                yl, yh, yw = _around(py + step[1, 2] * x, height - 1)
                xl, xh, xw = _around(px + step[2, 2] * x, width - 1)
                value = _trilinear(source, 0, height * width, width, 1, zl, zh, zw, yl, yh, yw, xl, xh, xw)
                flat[base + x * sx] = value > threshold

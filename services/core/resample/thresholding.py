"""The loops of `to_ct_mask`, compiled. They run without the interpreter's lock, one thread each."""

import numpy as np
from numba import njit

from services.core.resample.fixed_point import HALF, ONE, around, between, lerp, trilinear

_HALF_PROBABILITY = 128
_ROWS = 16


@njit("void(u2[:,:,::1], u1[:,::1], u1[:,:,::1], u2)", nogil=True, cache=True)
def add_rows(sums, peaks, member, weight):  # type: ignore[no-untyped-def]
    """Add one model's probabilities (z, y, x) to `sums`, so many times, and raise the `peaks` (z, y) of rows to its
    highest value.
    """
    depth, height, width = member.shape
    for z in range(depth):
        plane = member[z].reshape(-1)
        for first in range(0, height, _ROWS):
            stop = min(first + _ROWS, height)
            part, some = plane[first * width : stop * width], np.uint8(0)
            for at in range(len(part)):
                # Without the casts bytes become words, and these loops take several times as long.
                some = np.uint8(some | part[at])
            # Most of the volume is far from the organ.
            if some == 0:
                continue
            for y in range(first, stop):
                row, into = member[z, y], sums[z, y]
                peak = np.uint8(0)
                for x in range(width):
                    peak = np.uint8(max(peak, row[x]))
                if peak == 0:
                    continue
                peaks[z, y] = max(peaks[z, y], peak)
                for x in range(width):
                    into[x] = np.uint16(into[x] + np.uint16(weight * np.uint16(row[x])))


@njit("void(u2[:,:,::1], u1[:,::1], i4[:,:,::1])", nogil=True, cache=True)
def clear_rows(sums, peaks, spans):  # type: ignore[no-untyped-def]
    """Undo `add_rows` and `spans_above` for the rows that they touched."""
    depth, height, _ = sums.shape
    for z in range(depth):
        for y in range(height):
            if peaks[z, y] != 0:
                sums[z, y, :] = 0
                peaks[z, y] = 0
                spans[z, y, :] = 0


@njit("void(u2[:,:,::1], u1[:,::1], i8, i4[:,:,::1])", nogil=True, cache=True)
def spans_above(sums, peaks, threshold, spans):  # type: ignore[no-untyped-def]
    """Per row (z, y) the half-open range of columns that holds all x with 2 * sums > threshold; (0, 0) if none."""
    depth, height, width = sums.shape
    for z in range(depth):
        for y in range(height):
            # A mean above one half needs one model above it.
            if peaks[z, y] < _HALF_PROBABILITY:
                continue
            row = sums[z, y]
            peak = np.uint16(0)
            for x in range(width):
                peak = np.uint16(max(peak, row[x]))
            if 2 * np.int64(peak) > threshold:
                first, last = 0, width - 1
                while 2 * np.int64(row[first]) <= threshold:
                    first += 1
                while 2 * np.int64(row[last]) <= threshold:
                    last -= 1
                spans[z, y, 0], spans[z, y, 1] = first, last + 1


@njit(nogil=True, cache=True)
def mask_rows(  # type: ignore[no-untyped-def]
    sums, spans, threshold, zl, zh, zw, yl, yh, yw, xl, xh, xw, begin, end, ranges, offset, strides, flat, reach
):
    """Set the mask `flat` to 1 where the interpolated `sums` are above the threshold; parallel grids.

    `spans` is that of `spans_above`; target columns from `begin[g]` to `end[h]` are those that source columns g to h
    have influence on; `ranges` holds first and stop of the target's z and y. `reach` grows by what was looked at.
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
                row[x] = lerp(
                    lerp(np.float32(a[x]), np.float32(b[x]), wz), lerp(np.float32(c[x]), np.float32(d[x]), wz), wy
                )
            base = offset + z * sz + y * sy
            left, right = begin[first], end[stop - 1]
            if left >= right:
                continue
            for x in range(left, right):
                flat[base + x * sx] = lerp(row[xl[x]], row[xh[x]], xw[x]) > threshold
            reach[0, 0], reach[0, 1] = min(reach[0, 0], z), max(reach[0, 1], z + 1)
            reach[1, 0], reach[1, 1] = min(reach[1, 0], y), max(reach[1, 1], y + 1)
            reach[2, 0], reach[2, 1] = min(reach[2, 0], left), max(reach[2, 1], right)


@njit(nogil=True, cache=True)
def mask_voxels(sums, first_slice, grid_shape, box, threshold, start, step, shape, offset, strides, flat, reach):  # type: ignore[no-untyped-def]
    """Set the mask `flat`, of `shape`, to 1 where the interpolated `sums` are above the threshold; any grids.

    `sums` are slices of a grid of `grid_shape` from `first_slice` on; only positions between them are looked at. `box`
    holds first and stop, along z, y and x of the grid, of the voxels above the threshold. `reach` grows by what was
    looked at.
    """
    height, width = sums.shape[1:]
    source = sums.reshape(-1)
    sz, sy, sx = strides
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for axis in range(3):
        last = grid_shape[axis] - 1
        low[axis] = (box[axis, 0] - 1) * ONE if box[axis, 0] > 0 else -HALF
        high[axis] = box[axis, 1] * ONE if box[axis, 1] <= last else last * ONE + HALF
    last_slice = first_slice + sums.shape[0] - 1
    if first_slice > 0:
        low[0] = max(low[0], first_slice * ONE)
    if last_slice < grid_shape[0] - 1:
        high[0] = min(high[0], last_slice * ONE)
    for z in range(shape[0]):
        for y in range(shape[1]):
            pz = start[0] + step[0, 0] * z + step[0, 1] * y
            py = start[1] + step[1, 0] * z + step[1, 1] * y
            px = start[2] + step[2, 0] * z + step[2, 1] * y
            first, stop = np.int64(0), shape[2]
            first, stop = between(pz, step[0, 2], low[0], high[0], first, stop)
            first, stop = between(py, step[1, 2], low[1], high[1], first, stop)
            first, stop = between(px, step[2, 2], low[2], high[2], first, stop)
            if first >= stop:
                continue
            base = offset + z * sz + y * sy
            for x in range(first, stop):
                # At the last slice of the window the weight of the next one is 0.
                zl, zh, zw = around(pz + step[0, 2] * x - first_slice * ONE, sums.shape[0] - 1)
                yl, yh, yw = around(py + step[1, 2] * x, height - 1)
                xl, xh, xw = around(px + step[2, 2] * x, width - 1)
                value = trilinear(source, 0, height * width, width, 1, zl, zh, zw, yl, yh, yw, xl, xh, xw)
                flat[base + x * sx] = value > threshold
            reach[0, 0], reach[0, 1] = min(reach[0, 0], z), max(reach[0, 1], z + 1)
            reach[1, 0], reach[1, 1] = min(reach[1, 0], y), max(reach[1, 1], y + 1)
            reach[2, 0], reach[2, 1] = min(reach[2, 0], first), max(reach[2, 1], stop)

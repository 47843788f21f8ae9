"""Trilinear interpolation between a CT's own grid and the network grid, both ways.

Positions are fixed-point numbers with 32 fractional bits, made from an affine that was first brought to the orientation
of the network grid. So a CT whose axes are flipped or re-ordered, with its header following, gives the same result bit
for bit. Grids that are parallel to within `PARALLEL_VOXELS` take a path that works row by row; all others go voxel by
voxel. Both do the same arithmetic in the same order (float32: along z, then y, then x), so parallel grids give the same
values on either.

A position up to half a voxel beyond the outermost centres takes the value of the edge; further out is outside.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, Matrix, mismatch, network_grid
from services.core.trilinear import (
    BITS,
    HALF,
    ONE,
    WEIGHT_SHIFT,
    WEIGHT_UNIT,
    mask_rows,
    mask_voxels,
    sample_rows,
    sample_voxels,
    spans_above,
)

PARALLEL_VOXELS = 1e-3
"""Grids count as parallel if treating them so moves no position by more than this, in voxels."""

AIR_HU = -1024

_MAX_POSITION = 2.0**29

Int16Volume = npt.NDArray[np.int16]
Uint16Volume = npt.NDArray[np.uint16]
Mask = npt.NDArray[np.uint8]
_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float32]


def to_grid(ct: Int16Volume, ct_geometry: Geometry, grid: Geometry, *, outside: int = AIR_HU) -> Int16Volume:
    """The CT at the voxel centres of `grid`, int16 (z, y, x), in the CT's own unit (HU).

    Rounds half to even; voxels outside the CT get `outside`. Raises GEOMETRY_MISMATCH if `ct` does not have the shape
    of `ct_geometry`.
    """
    _require_shape(ct, ct_geometry, "ct")
    aligned = _align(ct_geometry, grid)
    path = _path(grid, aligned.geometry)
    out = np.full(grid.array_shape, outside, np.int16)
    flat = np.ascontiguousarray(ct).reshape(-1)
    if not path.is_parallel:
        shape = np.array(aligned.geometry.array_shape, np.int64)
        sample_voxels(flat, aligned.offset, aligned.strides, shape, path.start, path.step, out)
        return out
    z, y, x = (_line(path, axis, grid, aligned.geometry) for axis in range(3))
    offset, strides, width = aligned.offset, aligned.strides.copy(), aligned.geometry.shape[0]
    low, high = _unsigned(x.low), _unsigned(x.high)
    if strides[2] == -1:
        # Read rows in the order of memory, which the compiler vectorises, and turn the few look-ups round instead.
        offset, strides[2], low, high = (
            offset - (width - 1),
            1,
            _unsigned(width - 1 - x.low),
            _unsigned(width - 1 - x.high),
        )
    spans = np.array([z.first, z.stop, y.first, y.stop, x.first, x.stop], np.int64)
    sample_rows(
        flat, offset, strides, width, z.low, z.high, z.weight, y.low, y.high, y.weight, low, high, x.weight, spans, out
    )
    return out


def to_ct_mask(sums: Uint16Volume, grid: Geometry, ct: Geometry, models: int) -> Mask:
    """Where the mean probability of `models` models is above one half, as a 0/1 mask (z, y, x) on the grid of `ct`.

    `sums` (z, y, x) on `grid` adds up the models' uint8 probabilities, 255 for certainty. A voxel is 1 where twice the
    interpolated sum is more than 255 times `models`, and 0 outside `grid`. Raises GEOMETRY_MISMATCH if `sums` does not
    have the shape of `grid`.
    """
    _require_shape(sums, grid, "sums")
    mask = np.zeros(ct.array_shape, np.uint8)
    # Linear interpolation is convex: only voxels between ones above the threshold and their neighbours can be above it.
    spans = spans_above(np.ascontiguousarray(sums), 255 * models)
    planes, rows = (np.flatnonzero((spans[:, :, 1] > 0).any(axis=axis)) for axis in (1, 0))
    if planes.size == 0:
        return mask
    aligned = _align(ct, grid)
    path = _path(aligned.geometry, grid)
    threshold = np.float32(127.5 * models)
    flat = mask.reshape(-1)
    if not path.is_parallel:
        columns = spans[:, :, 0][spans[:, :, 1] > 0].min(), spans[:, :, 1].max()
        box = np.array([[planes[0], planes[-1] + 1], [rows[0], rows[-1] + 1], columns], np.int64)
        shape = np.array(aligned.geometry.array_shape, np.int64)
        mask_voxels(sums, box, threshold, path.start, path.step, shape, aligned.offset, aligned.strides, flat)
        return mask
    z, y, x = (_line(path, axis, aligned.geometry, grid) for axis in range(3))
    # CT columns between which grid column g has influence.
    begin = np.maximum(np.searchsorted(x.high, np.arange(grid.shape[0]), "left"), x.first)
    end = np.minimum(np.searchsorted(x.low, np.arange(grid.shape[0]), "right"), x.stop)
    ranges = np.array([z.first, z.stop, y.first, y.stop], np.int64)
    mask_rows(
        np.ascontiguousarray(sums), spans, threshold, z.low, z.high, z.weight, y.low, y.high, y.weight,
        _unsigned(x.low), _unsigned(x.high), x.weight, begin, end, ranges, aligned.offset, aligned.strides, flat,
    )  # fmt: skip
    return mask


def warm() -> None:
    """Compile or load every kernel, so that no volume waits for the compiler."""
    for tilt in (0.0, 0.5):
        ct = Geometry((2, 2, 2), (1.0, 0.0, tilt, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0))
        to_grid(np.zeros((2, 2, 2), np.int16), ct, network_grid(ct))
        to_ct_mask(np.full(network_grid(ct).array_shape, 255, np.uint16), network_grid(ct), ct, 1)


@dataclass(frozen=True)
class _Aligned:
    """How to walk a C-ordered array in the orientation of another grid: flat index = offset + strides . (z, y, x)."""

    geometry: Geometry
    offset: int
    strides: _Ints


def _align(volume: Geometry, grid: Geometry) -> _Aligned:
    """`volume` with its axes re-ordered and flipped so that each runs along the nearest axis of `grid`."""
    turned = np.linalg.inv(grid.matrix[:3, :3] / grid.spacing_mm) @ (volume.matrix[:3, :3] / volume.spacing_mm)
    source, sign, free = [0, 0, 0], [1, 1, 1], {0, 1, 2}
    # The most clearly oriented axis chooses first.
    for column in sorted(range(3), key=lambda c: -float(np.abs(turned[:, c]).max())):
        axis = max(sorted(free), key=lambda r: abs(float(turned[r, column])))
        free.remove(axis)
        source[axis], sign[axis] = column, 1 if turned[axis, column] >= 0 else -1
    matrix, offset, strides = np.eye(4), 0, np.zeros(3, np.int64)
    matrix[:3, 3] = volume.matrix[:3, 3]
    steps = (1, volume.shape[0], volume.shape[0] * volume.shape[1])
    for axis, (column, direction) in enumerate(zip(source, sign, strict=True)):
        matrix[:3, axis] = direction * volume.matrix[:3, column]
        strides[2 - axis] = direction * steps[column]
        if direction < 0:
            matrix[:3, 3] += (volume.shape[column] - 1) * volume.matrix[:3, column]
            offset += (volume.shape[column] - 1) * steps[column]
    i, j, k = (volume.shape[column] for column in source)
    return _Aligned(Geometry.from_matrix((i, j, k), matrix), offset, strides)


@dataclass(frozen=True)
class _Path:
    """Position in the source of each voxel of the target, fixed-point: start + step @ (z, y, x)."""

    start: _Ints
    step: _Ints
    is_parallel: bool


def _path(target: Geometry, source: Geometry) -> _Path:
    """The way through `source` for the voxels of `target`. Raises AFFINE_INVALID if they lie absurdly far apart."""
    matrix: Matrix = (np.linalg.inv(source.matrix) @ target.matrix)[:3]
    linear, start = matrix[::-1, 2::-1], matrix[::-1, 3]
    extent = np.array(target.array_shape) - 1
    if (np.abs(linear) @ extent + np.abs(start)).max() > _MAX_POSITION:
        raise AtlasError(Reason.AFFINE_INVALID, f"{target} and {source} lie too far apart.", field="affine")
    off_axis = np.abs(linear - np.diag(np.diag(linear))) @ extent
    is_parallel = bool(off_axis.max() < PARALLEL_VOXELS)
    if is_parallel:
        linear = np.diag(np.diag(linear))
    # Coarser for the start, whose float noise differs between equivalent headers.
    return _Path(
        np.rint(start * 2**20).astype(np.int64) << (BITS - 20), np.rint(linear * ONE).astype(np.int64), is_parallel
    )


@dataclass(frozen=True)
class _Line:
    """Along one axis, for each target index: the two source indices around it and the weight of the second.

    Targets outside [first, stop) are outside the source.
    """

    low: _Ints
    high: _Ints
    weight: _Floats
    first: int
    stop: int


def _line(path: _Path, axis: int, target: Geometry, source: Geometry) -> _Line:
    """The look-up along array axis `axis` of two parallel grids, both in the orientation of the network grid."""
    count, last = target.array_shape[axis], source.array_shape[axis] - 1
    position = path.start[axis] + path.step[axis, axis] * np.arange(count, dtype=np.int64)
    inside = np.flatnonzero((position >= -HALF) & (position <= last * ONE + HALF))
    position = np.clip(position, 0, last * ONE)
    low = position >> BITS
    weight = ((position & (ONE - 1)) >> WEIGHT_SHIFT).astype(np.float32) * WEIGHT_UNIT
    first, stop = (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, 0)
    return _Line(low, np.minimum(low + 1, last), weight, first, stop)


def _unsigned(indices: _Ints) -> npt.NDArray[np.uint32]:
    """Indices that spare the inner loop the test for negative ones, a third of its time."""
    return indices.astype(np.uint32)


def _require_shape(array: npt.NDArray[np.generic], geometry: Geometry, name: str) -> None:
    if array.shape != geometry.array_shape:
        found = Geometry((array.shape[2], array.shape[1], array.shape[0]), geometry.affine)
        raise mismatch(found, geometry, first_name=name, second_name="its geometry")

"""How two grids lie to each other: which axes run together, and where the voxels of one are in the other."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.core.boxes import Region
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, Matrix, mismatch
from services.core.resample.fixed_point import BITS, HALF, ONE, WEIGHT_SHIFT, WEIGHT_UNIT

PARALLEL_VOXELS = 1e-3
"""Grids count as parallel if treating them so moves no position by more than this, in voxels."""

_MAX_POSITION = 2.0**29

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Aligned:
    """How to walk a C-ordered array in the orientation of another grid: flat index = offset + strides . (z, y, x)."""

    geometry: Geometry
    offset: int
    strides: Ints
    axes: tuple[int, int, int]
    """The array's own axis along which z, y and x of the other grid run."""
    backwards: tuple[bool, bool, bool]

    def region(self, box: Ints) -> Region:
        """A box [first, stop) along z, y and x (3, 2) as an index into the array in its own order."""
        slices = [slice(0)] * 3
        for axis, backwards, (first, stop), count in zip(
            self.axes, self.backwards, box.tolist(), self.geometry.array_shape, strict=True
        ):
            slices[axis] = slice(count - stop, count - first) if backwards else slice(first, stop)
        return slices[0], slices[1], slices[2]


def align(volume: Geometry, grid: Geometry) -> Aligned:
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
    return Aligned(
        Geometry.from_matrix((i, j, k), matrix),
        offset,
        strides,
        axes=(2 - source[2], 2 - source[1], 2 - source[0]),
        backwards=(sign[2] < 0, sign[1] < 0, sign[0] < 0),
    )


@dataclass(frozen=True)
class Path:
    """Position in the source of each voxel of the target, fixed-point: start + step @ (z, y, x)."""

    start: Ints
    step: Ints
    is_parallel: bool


def path(target: Geometry, source: Geometry) -> Path:
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
    return Path(
        np.rint(start * 2**20).astype(np.int64) << (BITS - 20), np.rint(linear * ONE).astype(np.int64), is_parallel
    )


@dataclass(frozen=True)
class Line:
    """Along one axis, for each target index: the two source indices around it and the weight of the second.

    Targets outside [first, stop) are outside the source.
    """

    low: Ints
    high: Ints
    weight: Floats
    first: int
    stop: int


def line(way: Path, axis: int, target: Geometry, source: Geometry) -> Line:
    """The look-up along array axis `axis` of two parallel grids, both in the orientation of the network grid."""
    count, last = target.array_shape[axis], source.array_shape[axis] - 1
    position = way.start[axis] + way.step[axis, axis] * np.arange(count, dtype=np.int64)
    inside = np.flatnonzero((position >= -HALF) & (position <= last * ONE + HALF))
    position = np.clip(position, 0, last * ONE)
    low = position >> BITS
    weight = ((position & (ONE - 1)) >> WEIGHT_SHIFT).astype(np.float32) * WEIGHT_UNIT
    first, stop = (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, 0)
    return Line(low, np.minimum(low + 1, last), weight, first, stop)


def unsigned(indices: Ints) -> npt.NDArray[np.uint32]:
    """Indices that spare the inner loop the test for negative ones, a third of its time."""
    return indices.astype(np.uint32)


def require_shape(shape: tuple[int, ...], geometry: Geometry, name: str) -> None:
    """Raise GEOMETRY_MISMATCH unless an array (z, y, x) of this shape lies on `geometry`."""
    if shape != geometry.array_shape:
        found = Geometry((shape[2], shape[1], shape[0]), geometry.affine)
        raise mismatch(found, geometry, first_name=name, second_name="its geometry")

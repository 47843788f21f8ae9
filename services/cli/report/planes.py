"""Planes through the patient as a reader expects to see them, sampled from arrays on any grid.

A plane lives in RAS+ mm, so a CT, its masks and a heat map on another grid meet in the same picture, oblique or not,
and a pixel is a square of the same size everywhere.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from services.core.geometry import Geometry

Floats = npt.NDArray[np.float32]
Box = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Least and greatest corner in RAS+ mm."""

BODY_HU = -300
# What each plane shows to its right and downwards (RAS+), and the letters at its left, right, top and bottom edge:
# the patient is seen from the feet, from the front, and from the left side.
_VIEWS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], str]] = {
    "axial": ((-1, 0, 0), (0, -1, 0), "RLAP"),
    "coronal": ((-1, 0, 0), (0, 0, -1), "RLSI"),
    "sagittal": ((0, -1, 0), (0, 0, -1), "APSI"),
}


@dataclass(frozen=True)
class Plane:
    """A rectangle of square pixels; the centre of pixel (row, column) is `corner + row * down + column * right`."""

    name: str
    corner: npt.NDArray[np.float64]
    right: npt.NDArray[np.float64]
    down: npt.NDArray[np.float64]
    shape: tuple[int, int]
    """Rows and columns."""
    pixel_mm: float
    letters: str
    """What lies at the left, right, top and bottom edge: R, L, A, P, S or I."""


def planes_through(point: npt.NDArray[np.float64], box: Box, pixel_mm: float) -> list[Plane]:
    """The axial, coronal and sagittal plane through `point` (RAS+ mm), cut to `box`."""
    low, high = box
    planes = []
    for name, (right, down, letters) in _VIEWS.items():
        u, v = np.array(right, float), np.array(down, float)
        columns, rows = (max(1, int(np.ceil(abs(axis @ (high - low)) / pixel_mm))) for axis in (u, v))
        # Both axes point to lower coordinates, so the picture begins at the box's upper ends.
        corner = np.where((u + v) != 0, high - pixel_mm / 2, point)
        planes.append(Plane(name, corner, u * pixel_mm, v * pixel_mm, (rows, columns), pixel_mm, letters))
    return planes


class Sampler:
    """Trilinear values of arrays of one geometry on one plane; made once, used for every channel."""

    def __init__(self, geometry: Geometry, plane: Plane) -> None:
        inverse = np.linalg.inv(geometry.matrix)
        start = (inverse @ np.append(plane.corner, 1.0))[:3]
        rows = np.arange(plane.shape[0])[:, None, None] * (inverse[:3, :3] @ plane.down)
        columns = np.arange(plane.shape[1])[None, :, None] * (inverse[:3, :3] @ plane.right)
        index = start + rows + columns
        size = np.array(geometry.shape)
        self._inside = ((index > -0.5) & (index < size - 0.5)).all(axis=2)
        index = np.clip(index, 0, size - 1)
        first = index.astype(np.int64)
        share = (index - first).astype(np.float32)
        strides = np.array([1, size[0], size[0] * size[1]])
        self._corners: list[tuple[npt.NDArray[np.int64], Floats]] = []
        for corner in np.ndindex(2, 2, 2):
            offsets = np.minimum(first + corner, size - 1) @ strides
            weights = np.prod(np.where(corner, share, 1 - share), axis=2, dtype=np.float32)
            self._corners.append((offsets, weights))
        self._array_shape = geometry.array_shape

    def __call__(self, array: npt.NDArray[Any], *, outside: float) -> Floats:
        """Values of `array` (k, j, i), float32; `outside` beyond the grid's outer faces."""
        if array.shape != self._array_shape:
            raise ValueError(f"array of shape {array.shape}, expected {self._array_shape}")
        flat = array.reshape(-1)
        result = np.zeros(self._inside.shape, np.float32)
        for offsets, weights in self._corners:
            result += weights * flat[offsets]
        return cast(Floats, np.where(self._inside, result, np.float32(outside)))


def body_box(ct: npt.NDArray[Any], geometry: Geometry, margin_mm: float = 6.0) -> Box:
    """Box around the body of a CT in HU: all but the outermost half percent of what is denser than fat."""
    step = 3
    k, j, i = np.nonzero(ct[::step, ::step, ::step] > BODY_HU)
    corners = geometry.corners_mm()
    low, high = corners.min(axis=0), corners.max(axis=0)
    if not len(i):
        return low, high
    points = np.stack([i, j, k, np.full(len(i), 1 / step)]) * step
    world = (geometry.matrix @ points)[:3]
    inner_low, inner_high = np.percentile(world, 0.5, axis=1), np.percentile(world, 99.5, axis=1)
    return np.maximum(low, inner_low - margin_mm), np.minimum(high, inner_high + margin_mm)


def hottest_point(heat: npt.NDArray[Any], geometry: Geometry, block_mm: float = 20.0) -> npt.NDArray[np.float64] | None:
    """Centre (RAS+ mm) of what is hot in the block of about `block_mm` with the greatest sum; None if all is zero.

    A block instead of the hottest voxel: a whole region is worth looking at, a lone voxel is not.
    """
    edges = [max(1, round(block_mm / s)) for s in reversed(geometry.spacing_mm)]
    starts = [np.arange(0, n, e) for n, e in zip(heat.shape, edges, strict=True)]
    sums = heat
    for axis, start in enumerate(starts):
        sums = np.add.reduceat(sums, start, axis=axis, dtype=np.float32)
    if not sums.max() > 0:
        return None
    best = np.unravel_index(int(sums.argmax()), sums.shape)
    low = [int(start[b]) for start, b in zip(starts, best, strict=True)]
    block = heat[tuple(slice(a, a + e) for a, e in zip(low, edges, strict=True))]
    return _centre(block, geometry, low)


def centroid(mask: npt.NDArray[Any], geometry: Geometry) -> npt.NDArray[np.float64] | None:
    """Centre (RAS+ mm) of a mask, or None if it is empty."""
    return _centre(mask, geometry, [0, 0, 0]) if mask.any() else None


def _centre(block: npt.NDArray[Any], geometry: Geometry, low: list[int]) -> npt.NDArray[np.float64]:
    index = [
        float(np.average(np.arange(block.shape[axis]), weights=block.sum(axis=_others(axis), dtype=np.float64)))
        + low[axis]
        for axis in range(3)
    ]
    return cast(npt.NDArray[np.float64], (geometry.matrix @ np.array([*reversed(index), 1.0]))[:3])


def _others(axis: int) -> tuple[int, int]:
    return cast(tuple[int, int], tuple(a for a in range(3) if a != axis))

"""Solid shapes in patient space (RAS, mm) as approximate signed distances: negative inside, in mm."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Array = NDArray[np.float32]
Box = tuple[NDArray[np.float64], NDArray[np.float64]]


class Shape(Protocol):
    """Anything with a bounding box and a distance."""

    def box(self) -> Box:
        """Lower and upper corner in mm."""

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Approximate signed distance to the surface in mm at the given coordinates."""


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid with its half axes along the columns of `axes` (a rotation)."""

    centre: NDArray[np.float64]
    radii: NDArray[np.float64]
    axes: NDArray[np.float64]

    def box(self) -> Box:
        """Lower and upper corner in mm."""
        half = np.sqrt(((self.axes * self.radii) ** 2).sum(axis=1))
        return self.centre - half, self.centre + half

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Approximate signed distance in mm (first order: exact on the surface)."""
        x, y, z = (axis - np.float32(c) for axis, c in zip((x, y, z), self.centre, strict=True))
        square = np.zeros_like(x)
        slope = np.full_like(x, 1e-6)
        for k in range(3):
            a, b, c = self.axes[:, k].astype(np.float32)
            along = (a * x + b * y + c * z) / np.float32(self.radii[k])
            square += along * along
            along /= np.float32(self.radii[k])
            slope += along * along
        norm = np.sqrt(square)
        return np.asarray(norm * (norm - 1) / np.sqrt(slope), np.float32)


@dataclass(frozen=True)
class Tube:
    """A chain of round cones along a smooth centre line: `points` (n, 3) and `radii` (n,) in mm."""

    points: NDArray[np.float64]
    radii: NDArray[np.float64]

    @staticmethod
    def through(controls: Sequence[Sequence[float]], radii: Sequence[float], step_mm: float = 14.0) -> "Tube":
        """Thread a cubic spline through control points, resampled about every `step_mm`."""
        points = np.asarray(controls, float)
        arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1) + 1e-3)])
        samples = np.linspace(0.0, arc[-1], max(2, round(arc[-1] / step_mm) + 1))
        line = CubicSpline(arc, points, bc_type="natural")(samples)
        return Tube(line, np.interp(samples, arc, radii))

    def box(self) -> Box:
        """Lower and upper corner in mm."""
        reach = self.radii[:, None]
        return (self.points - reach).min(axis=0), (self.points + reach).max(axis=0)

    def pieces(self) -> list["Tube"]:
        """Cut into single cones, so that a renderer can look at small boxes."""
        return [Tube(self.points[i : i + 2], self.radii[i : i + 2]) for i in range(len(self.points) - 1)]

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance in mm to the nearest cone of the chain."""
        nearest = np.full(x.shape, 1e4, np.float32)
        for i in range(len(self.points) - 1):
            a = self.points[i].astype(np.float32)
            d = (self.points[i + 1] - self.points[i]).astype(np.float32)
            length = np.float32(max(float(d @ d), 1e-6))
            px, py, pz = x - a[0], y - a[1], z - a[2]
            t = np.clip((px * d[0] + py * d[1] + pz * d[2]) / length, 0, 1)
            px -= t * d[0]
            py -= t * d[1]
            pz -= t * d[2]
            radius = np.float32(self.radii[i]) + t * np.float32(self.radii[i + 1] - self.radii[i])
            np.minimum(nearest, np.sqrt(px * px + py * py + pz * pz) - radius, out=nearest)
        return nearest


@dataclass(frozen=True)
class Blend:
    """The union of shapes with rounded seams `seam_mm` wide, less the `bites` taken out of it."""

    parts: tuple[Shape, ...]
    seam_mm: float
    bites: tuple[Shape, ...] = ()

    def box(self) -> Box:
        """Lower and upper corner in mm."""
        boxes = [part.box() for part in self.parts]
        return (
            np.min([low for low, _ in boxes], axis=0) - self.seam_mm,
            np.max([high for _, high in boxes], axis=0) + self.seam_mm,
        )

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Approximate signed distance in mm."""
        result = self.parts[0].distance(x, y, z)
        for part in self.parts[1:]:
            other = part.distance(x, y, z)
            overlap = np.maximum(self.seam_mm - np.abs(result - other), 0) / np.float32(self.seam_mm)
            result = np.minimum(result, other) - overlap * overlap * np.float32(self.seam_mm / 4)
        for bite in self.bites:
            np.maximum(result, -bite.distance(x, y, z), out=result)
        return result


def rotation(degrees_about_x: float, degrees_about_y: float, degrees_about_z: float) -> NDArray[np.float64]:
    """Rotation matrix Rz @ Ry @ Rx in patient space, angles in degrees."""
    result = np.eye(3)
    for axis, degrees in enumerate((degrees_about_x, degrees_about_y, degrees_about_z)):
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = c
        turn[i, j], turn[j, i] = -s, s
        result = turn @ result
    return result

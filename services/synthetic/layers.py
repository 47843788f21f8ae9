"""One painted structure of the body: a shape, what it is filled with, and what it may cover."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.synthetic.shapes import Ellipsoid, Shape, Tube, rotation
from services.synthetic.tissues import Tissue


@dataclass(frozen=True)
class Layer:
    """Painted in order, later over earlier.

    `fill` gives tissues from the surface inwards as (depth in mm, tissue). A halo of fat `halo_mm` wide parts the
    shape from its neighbours. `bumps_mm` roughens the surface. `gas_above` paints gas anterior of that patient y in mm,
    because the patient lies on the back. `only_over` restricts painting to those tissues, `in_cavity` to the abdomen.
    """

    shape: Shape
    fill: tuple[tuple[float, Tissue], ...]
    halo_mm: float = 0.0
    bumps_mm: float = 0.0
    gas_above: tuple[float, Tissue] | None = None
    only_over: tuple[Tissue, ...] = ()
    in_cavity: bool = False


def near(rng: np.random.Generator, point: tuple[float, float, float], sd_mm: float) -> NDArray[np.float64]:
    """A point drawn around `point` (mm), cut at two standard deviations per axis."""
    return np.asarray(np.asarray(point) + np.clip(rng.standard_normal(3), -2, 2) * sd_mm, np.float64)


def ellipsoid(
    rng: np.random.Generator,
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    turn: tuple[float, float, float] = (0, 0, 0),
    *,
    move_mm: float = 3.0,
    scale: float = 0.08,
    tilt: float = 5.0,
) -> Ellipsoid:
    """An ellipsoid (mm, degrees) varied in place, size and pose."""
    size = np.asarray(radii) * np.exp(np.clip(rng.standard_normal(3), -2, 2) * scale)
    angles = np.asarray(turn) + np.clip(rng.standard_normal(3), -2, 2) * tilt
    return Ellipsoid(near(rng, centre, move_mm), size, rotation(*angles))


def tube(
    rng: np.random.Generator,
    controls: Sequence[tuple[float, float, float]],
    radii: Sequence[float],
    *,
    move_mm: float = 2.5,
    scale: float = 0.08,
) -> Tube:
    """A tube through control points (mm) varied point by point, all radii by one factor."""
    factor = float(np.exp(np.clip(rng.standard_normal(), -2, 2) * scale))
    return Tube.through(
        [near(rng, point, move_mm).tolist() for point in controls], [radius * factor for radius in radii]
    )

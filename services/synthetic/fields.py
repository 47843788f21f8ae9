"""Smooth random fields anchored in patient space, so that one seed means one anatomy on any grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline

Array = NDArray[np.float32]

LOW_MM = np.array([-240.0, -190.0, -280.0])
HIGH_MM = np.array([240.0, 190.0, 260.0])
_REFINE = 4


@dataclass(frozen=True)
class SmoothField:
    """A scalar field over the patient: a random lattice refined by cubic splines, read linearly in between."""

    lattice: Array
    step_mm: float

    @staticmethod
    def draw(rng: np.random.Generator, wavelength_mm: float) -> "SmoothField":
        """Draw a field of about unit standard deviation whose bumps are `wavelength_mm` apart."""
        knots = np.ceil((HIGH_MM - LOW_MM) / wavelength_mm).astype(int) + 1
        coarse = rng.standard_normal(tuple(knots), dtype=np.float32)
        lattice = coarse
        for axis, count in enumerate(knots):
            fine = np.linspace(0, count - 1, (count - 1) * _REFINE + 1)
            lattice = CubicSpline(np.arange(count), lattice, axis=axis)(fine)
        return SmoothField((lattice / lattice.std()).astype(np.float32), wavelength_mm / _REFINE)

    def at(self, x: Array, y: Array, z: Array) -> Array:
        """Values at patient coordinates in mm; beyond the patient's box the border value holds."""
        index = [
            (axis - np.float32(low)) / np.float32(self.step_mm) for axis, low in zip((x, y, z), LOW_MM, strict=True)
        ]
        values = np.empty(x.shape, np.float32)
        ndimage.map_coordinates(self.lattice, index, output=values, order=1, mode="nearest")
        return values

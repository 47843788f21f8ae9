"""Where a scanner lays its voxels over a patient."""

import numpy as np
from numpy.typing import NDArray

from services.core.geometry import Geometry
from services.synthetic.patients import Patient
from services.synthetic.profiles import Profile
from services.synthetic.shapes import rotation

Vector = NDArray[np.float64]


def scan_geometry(patient: Patient, profile: Profile, rng: np.random.Generator) -> Geometry:
    """Lay a grid over the patient as a scanner would."""
    frame = patient.frame
    margin = rng.uniform(*profile.margin_mm)
    width = frame.half_width + frame.muscle + frame.side_fat + margin
    front = frame.centre_y + frame.half_depth + frame.muscle + frame.front_fat + margin
    back = -102 - frame.back_fat - margin - 8
    low = np.array([-width, back, rng.uniform(*profile.bottom_mm)]) * patient.size
    high = np.array([width, front, rng.uniform(*profile.top_mm)]) * patient.size
    plane, thickness = rng.uniform(*profile.plane_mm), rng.uniform(*profile.slice_mm)
    tilt = rotation(*rng.uniform(-1, 1, 3) * profile.tilt_degrees * (rng.random() < 0.5))
    return _grid(low, high, (plane, plane, thickness), str(rng.choice(profile.orientations)), tilt)


def _grid(low: Vector, high: Vector, spacing: tuple[float, float, float], code: str, tilt: Vector) -> Geometry:
    """A grid over the box (RAS mm); `spacing` belongs to the world axes, `code` orders and flips the index axes."""
    step = np.round(spacing, 4)
    count = np.maximum(np.round((high - low) / step), 1).astype(int)
    axes = [next(a for a in range(3) if letter in ("RL", "AP", "SI")[a]) for letter in code]
    signs = [1 if letter in "RAS" else -1 for letter in code]
    matrix = np.eye(4)
    matrix[:3, :3] = 0
    for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        matrix[axis, column] = sign * step[axis]
    matrix[:3, :3] = tilt @ matrix[:3, :3]
    shape = tuple(int(count[axis]) for axis in axes)
    centre = (low + high) / 2
    matrix[:3, 3] = np.round(centre - matrix[:3, :3] @ ((np.array(shape) - 1) / 2), 3)
    return Geometry.from_matrix(shape, matrix)  # type: ignore[arg-type]

"""How a patient is scanned: spacing, orientation, field of view, noise and sharpness."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.geometry import Geometry
from services.synthetic.patients import Patient
from services.synthetic.shapes import rotation

Range = tuple[float, float]
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """Ranges to draw a scan from: lengths in mm, angles in degrees, noise in HU, blur in voxels (standard deviation).

    `top_mm` and `bottom_mm` bound the field of view above and below the first lumbar vertebra.
    """

    plane_mm: Range
    slice_mm: Range
    orientations: tuple[str, ...]
    tilt_degrees: float
    top_mm: Range
    bottom_mm: Range
    margin_mm: Range
    noise_hu: Range
    blur: Range


PROFILES: dict[str, Profile] = {
    "training": Profile((3, 3), (3, 3), ("RAS",), 0, (60, 165), (-160, -55), (-10, 20), (2, 16), (0.25, 0.6)),
    "clinical": Profile(
        (0.8, 3),
        (1, 5),
        ("LPS", "RAS", "LAS", "RPS", "LPI", "PSR"),
        4,
        (85, 150),
        (-140, -60),
        (-5, 20),
        (6, 28),
        (0.4, 0.9),
    ),
    "demo": Profile(
        (1.6, 2.0), (2.0, 3.0), ("LPS", "RAS", "LAS"), 2, (105, 130), (-110, -80), (0, 10), (8, 20), (0.4, 0.7)
    ),
}


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

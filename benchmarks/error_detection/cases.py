"""Label cases with known truth: the project's synthetic patients, and cases bent into others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from services.core import classmaps
from services.core.boxes import crop
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, network_grid
from services.core.resample import to_grid
from services.synthetic import make_case
from services.synthetic.patients import Patient
from services.synthetic.profiles import PROFILES
from services.synthetic.scans import scan_geometry

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]

ORGANS = classmaps.load().organs
MARGIN_MM = 18.0


@dataclass(frozen=True)
class LabelCase:
    """True masks (k, j, i) by organ on an axis-aligned RAS grid; `ct` is int16 HU on it, if there is one."""

    name: str
    geometry: Geometry
    truth: Mapping[str, Mask]
    ct: npt.NDArray[np.int16] | None = None


def synthetic(seed: int, spacing_mm: float = 1.5) -> LabelCase:
    """A synthetic patient on the network grid of a scan of the "training" profile."""
    scan = PROFILES["training"]
    patient = Patient.draw(np.random.default_rng([seed, 0]), scan.population)
    grid = network_grid(scan_geometry(patient, scan, np.random.default_rng([seed, 1])), spacing_mm)
    case = make_case(seed, geometry=grid)
    return cropped(LabelCase(f"synthetic_{seed}", grid, case.masks, case.ct))


def on_grid(mask: Mask, geometry: Geometry, grid: Geometry) -> Mask:
    """A mask at the voxel centres of another grid: trilinear, then at least one half."""
    # A factor keeps the rounding of int16 interpolation away from the threshold.
    return to_grid(mask.astype(np.int16) * 1000, geometry, grid) >= 500


def cropped(case: LabelCase, margin_mm: float = MARGIN_MM) -> LabelCase:
    """The case in the box of its organs and a margin, as far as the field of view goes.

    Raises FIELD_INVALID where no organ has a voxel.
    """
    anything = np.any(np.stack(list(case.truth.values())), axis=0)
    if not anything.any():
        raise AtlasError(
            Reason.FIELD_INVALID, "No organ has a voxel in this case.", field=case.name, remedy="Leave the case out."
        )
    box = crop(anything.view(np.uint8)).slices
    steps = [int(np.ceil(margin_mm / s)) for s in case.geometry.spacing_mm[::-1]]
    k, j, i = (
        slice(max(0, s.start - n), min(size, s.stop + n)) for s, n, size in zip(box, steps, anything.shape, strict=True)
    )
    box = (k, j, i)
    matrix = case.geometry.matrix
    matrix[:3, 3] += matrix[:3, :3] @ np.array([s.start for s in box[::-1]])
    shape = tuple(s.stop - s.start for s in box)
    return LabelCase(
        case.name,
        Geometry.from_matrix((shape[2], shape[1], shape[0]), matrix),
        {organ: np.ascontiguousarray(mask[box]) for organ, mask in case.truth.items()},
        None if case.ct is None else np.ascontiguousarray(case.ct[box]),
    )


def deformed(case: LabelCase, seed: int, *, amplitude_mm: float = 6.0, wavelength_mm: float = 45.0) -> LabelCase:
    """The case bent by a smooth random displacement, stretched by up to 12 %: another patient of the same kind."""
    rng = np.random.default_rng([seed, 77])
    shape = case.geometry.array_shape
    spacing = case.geometry.spacing_mm[::-1]
    scale = rng.uniform(0.88, 1.12, 3)
    where = []
    for axis in range(3):
        move = smooth_field(rng, shape, spacing, wavelength_mm) * amplitude_mm / spacing[axis]
        index = np.arange(shape[axis], dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        centre = (shape[axis] - 1) / 2
        where.append((index - centre) * scale[axis] + centre + move)
    coordinates = np.stack(where)
    truth = {
        organ: ndimage.map_coordinates(
            ndimage.gaussian_filter(mask.astype(np.float32), 0.8), coordinates, order=1, mode="nearest"
        )
        > 0.5
        for organ, mask in case.truth.items()
    }
    ct = None if case.ct is None else ndimage.map_coordinates(case.ct, coordinates, order=1, mode="nearest")
    return LabelCase(f"{case.name}, bent {seed}", case.geometry, truth, ct)


def smooth_field(
    rng: np.random.Generator, shape: tuple[int, ...], spacing_mm: tuple[float, ...], wavelength_mm: float
) -> npt.NDArray[np.float32]:
    """Random float32 field (k, j, i) of unit variance whose bumps are about `wavelength_mm` apart."""
    knots = [int(np.ceil(n * s / wavelength_mm)) + 3 for n, s in zip(shape, spacing_mm, strict=True)]
    field = rng.standard_normal(knots).astype(np.float32)
    for axis, (n, s) in enumerate(zip(shape, spacing_mm, strict=True)):
        at = np.arange(n) * s / wavelength_mm + rng.uniform(0, 1)
        low = at.astype(int)
        t = (at - low).astype(np.float32)
        t = t * t * (3 - 2 * t)
        field = np.moveaxis(field, axis, -1)
        field = field[..., low] * (1 - t) + field[..., low + 1] * t
        field = np.moveaxis(field, -1, axis)
    return np.asarray(field / field.std(), np.float32)

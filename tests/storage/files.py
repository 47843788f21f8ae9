"""NIfTI files for tests of storage."""

from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from services.core import nifti
from services.core.geometry import Geometry

AFFINE = np.array([[-0.8, 0, 0, 40.0], [0, -0.8, 0, 30.0], [0, 0, 2.0, -100.0], [0, 0, 0, 1]])
GEOMETRY = Geometry.from_matrix((24, 20, 16), AFFINE.astype(np.float32))


def hounsfield(seed: int = 0) -> npt.NDArray[np.int16]:
    """A CT's voxels (z, y, x) on GEOMETRY."""
    return np.random.default_rng(seed).integers(-1024, 1024, GEOMETRY.array_shape).astype(np.int16)


def ct(seed: int = 0) -> bytes:
    """A CT file on GEOMETRY."""
    return nifti.encode(hounsfield(seed), GEOMETRY)


def ball(radius: float, centre: tuple[int, int, int] = (8, 10, 12)) -> npt.NDArray[np.uint8]:
    """A ball of 1 in (z, y, x) on GEOMETRY."""
    axes = np.meshgrid(*map(np.arange, GEOMETRY.array_shape), indexing="ij")
    squared = sum((axis - middle) ** 2 for axis, middle in zip(axes, centre, strict=True))
    return np.asarray(squared <= radius**2, np.uint8)


def mask(voxels: npt.NDArray[np.uint8], geometry: Geometry = GEOMETRY) -> bytes:
    """A mask file."""
    return nifti.encode(voxels, geometry)


def raw(shape: tuple[int, ...], dtype: str = "<i2", affine: npt.NDArray[np.float64] | None = AFFINE) -> bytes:
    """A plain NIfTI file of zeros in any shape and type (NIfTI order)."""
    image: Any = nibabel.nifti1.Nifti1Image
    return bytes(image(np.zeros(shape, dtype), affine).to_bytes())

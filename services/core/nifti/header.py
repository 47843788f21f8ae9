"""NIfTI headers: what a file says about its voxels, checked before any voxel is read."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from services.core.errors import AtlasError, Reason
from services.core.geometry import MAX_AXIS_VOXELS, Geometry
from services.core.nifti.layout import (
    EXTENSION_FLAG_BYTES,
    HEADER_1,
    HEADER_2,
    MAGIC_1,
    MAGIC_1_PAIR,
    MAGIC_2,
    MAGIC_2_PAIR,
    VOXEL_TYPES,
)
from services.core.nifti.placement import Placement

MAX_VOXEL_OFFSET = 64 * 2**20
_SAME_SIZE = 0.05
"""How far voxel sizes may differ, as a share: a tilted gantry makes a difference of a few per cent."""


@dataclass(frozen=True)
class Header:
    """What a NIfTI file says about itself.

    `dtype` is the stored voxel type in the file's byte order; a voxel's value is `slope * stored + intercept`.
    `voxel_offset` counts bytes of the decompressed file. `notes` says what was odd, one sentence each. `other_geometry`
    is what the qform says where the sform, which `geometry` follows, contradicts it.
    """

    version: int
    geometry: Geometry
    dtype: np.dtype[Any]
    slope: float
    intercept: float
    voxel_offset: int
    placement: Placement
    notes: tuple[str, ...]
    other_geometry: Geometry | None = None

    @property
    def is_scaled(self) -> bool:
        """Whether stored numbers and values differ."""
        return (self.slope, self.intercept) != (1.0, 0.0)

    @property
    def voxel_bytes(self) -> int:
        """Bytes of the stored voxels, decompressed."""
        return self.geometry.voxel_count * self.dtype.itemsize

    def require_one_grid(self) -> None:
        """Raise AFFINE_INVALID if sform and qform differ in orientation or voxel size, so that one of them is wrong.

        A shift or a slight rotation is left to the sform: whoever registers or crops an image changes that alone.
        """
        other = self.other_geometry
        if other is None:
            return
        sizes = np.array(self.geometry.spacing_mm) / np.array(other.spacing_mm)
        if self.geometry.orientation == other.orientation and np.abs(sizes - 1).max() <= _SAME_SIZE:
            return
        raise AtlasError(
            Reason.AFFINE_INVALID,
            f"The header contradicts itself: by its sform it is {self.geometry}; by its qform {other}.",
            field="affine",
            remedy="Find out which is right, and take the other out by setting its code to 0.",
        )

    def scaled(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Values of stored voxels."""
        values = np.multiply(stored, self.slope, dtype=np.float64)
        values += self.intercept
        return values


def parse(start: bytes) -> Header:
    """Header of a decompressed file that begins with `start` (540 bytes, or all if there are fewer).

    Raises FILE_NOT_NIFTI, FILE_TRUNCATED, IMAGE_NOT_3D, DTYPE_UNSUPPORTED, AFFINE_INVALID, VOXELS_NOT_FINITE or
    VOLUME_TOO_LARGE.
    """
    version, order, fields = _fields(start)
    notes: list[str] = []
    shape = _shape([int(n) for n in fields["dim"]], notes)
    dtype: np.dtype[Any] | None = VOXEL_TYPES.get(int(fields["datatype"]))
    if dtype is None:
        raise AtlasError(
            Reason.DTYPE_UNSUPPORTED,
            f"Voxels of NIfTI type {int(fields['datatype'])} (complex, RGB or unknown) are neither a CT nor a mask.",
            field="datatype",
            remedy="Store one integer or real number per voxel.",
        )
    placement = Placement(
        qform_code=int(fields["qform_code"]),
        sform_code=int(fields["sform_code"]),
        quaternion=tuple(float(v) for v in fields["quatern"]),
        offset=tuple(float(v) for v in fields["qoffset"]),
        pixdim=tuple(float(v) for v in fields["pixdim"][:4]),
        srow=tuple(float(v) for v in fields["srow"].ravel()),
        units=int(fields["xyzt_units"]),
    )
    geometry, other, odd = placement.geometry(shape)
    notes += odd
    slope, intercept = _scaling(float(fields["scl_slope"]), float(fields["scl_inter"]), notes)
    return Header(
        version=version,
        geometry=geometry,
        dtype=dtype.newbyteorder(order),
        slope=slope,
        intercept=intercept,
        voxel_offset=_voxel_offset(float(fields["vox_offset"]), fields.dtype.itemsize, notes),
        placement=placement,
        notes=tuple(notes),
        other_geometry=other,
    )


def _fields(start: bytes) -> tuple[int, Literal["<", ">"], Any]:
    size = start[:4]
    for version, layout, magic, pair in ((1, HEADER_1, MAGIC_1, MAGIC_1_PAIR), (2, HEADER_2, MAGIC_2, MAGIC_2_PAIR)):
        order: Literal["<", ">"]
        for order in ("<", ">"):
            if size != np.array(layout.itemsize, f"{order}i4").tobytes():
                continue
            if len(start) < layout.itemsize:
                raise truncated("It ends within its header.")
            fields = np.frombuffer(start, layout.newbyteorder(order), count=1)[0]
            if fields["magic"] == magic:
                return version, order, fields
            if fields["magic"] == pair:
                raise _not_nifti("This is the header of a .hdr and .img pair.", "Store it as a single .nii.gz file.")
            raise _not_nifti("This is an Analyze 7.5 header, which does not say where left is.", "Convert it to NIfTI.")
    raise _not_nifti("It does not begin with a NIfTI header.", "Convert it to NIfTI (.nii or .nii.gz).")


def _shape(dim: list[int], notes: list[str]) -> tuple[int, int, int]:
    count = dim[0]
    axes = dim[1 : count + 1] if 1 <= count <= 7 else []
    if not axes or min(axes) < 1:
        raise _not_3d(f"The header's dimensions {dim} make no sense.")
    while len(axes) > 3 and axes[-1] == 1:
        axes.pop()
    if len(axes) != 3:
        raise _not_3d(f"The image has {len(axes)} dimensions: {'x'.join(map(str, axes))}.")
    if count > 3:
        notes.append(f"The header counts {count} dimensions; those after the third have one entry and were dropped.")
    if max(axes) > MAX_AXIS_VOXELS:
        raise AtlasError(
            Reason.VOLUME_TOO_LARGE,
            f"The image has {'x'.join(map(str, axes))} voxels; {MAX_AXIS_VOXELS} along one axis is the most.",
            field="dim",
            remedy="Crop or resample the volume.",
        )
    return axes[0], axes[1], axes[2]


def _scaling(slope: float, intercept: float, notes: list[str]) -> tuple[float, float]:
    if slope == 0.0 or not math.isfinite(slope):
        if slope != 0.0:
            notes.append("scl_slope is not a number; the stored values were taken as they are.")
        return 1.0, 0.0
    if not math.isfinite(intercept):
        raise AtlasError(
            Reason.VOXELS_NOT_FINITE,
            "scl_inter is not a number, so no voxel has a value.",
            field="scl_inter",
            remedy="Mend the header.",
        )
    if (slope, intercept) != (1.0, 0.0):
        notes.append(f"Stored values were scaled by {slope:.6g} and shifted by {intercept:.6g}.")
    return slope, intercept


def _voxel_offset(offset: float, header_bytes: int, notes: list[str]) -> int:
    least = header_bytes + EXTENSION_FLAG_BYTES
    if offset == 0:
        notes.append("vox_offset is 0; the voxels were taken to follow the header.")
        return least
    if not least <= offset <= MAX_VOXEL_OFFSET or offset != int(offset):
        raise _not_nifti(f"vox_offset {offset:.6g} cannot be right.", "Write the file again with another program.")
    return int(offset)


def truncated(message: str) -> AtlasError:
    """The FILE_TRUNCATED error."""
    return AtlasError(Reason.FILE_TRUNCATED, message, field="file", remedy="Copy or download the file again.")


def _not_nifti(message: str, remedy: str) -> AtlasError:
    return AtlasError(Reason.FILE_NOT_NIFTI, message, field="file", remedy=remedy)


def _not_3d(message: str) -> AtlasError:
    return AtlasError(
        Reason.IMAGE_NOT_3D, message, field="dim", remedy="Store each volume as a three-dimensional file of its own."
    )

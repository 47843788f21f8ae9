"""Where a voxel array lies in the patient.

Arrays are C-contiguous with axes (k, j, i) = (z, y, x), which is the order of a NIfTI file's bytes; `Geometry.shape` is
in NIfTI order (i, j, k). World coordinates are RAS+ in mm.
"""

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import numpy.typing as npt

from services.core.errors import AtlasError, Reason

Matrix = npt.NDArray[np.float64]
Triple = tuple[float, float, float]

MAX_AXIS_VOXELS = 4096
CLOSE_MM = 1e-2


@dataclass(frozen=True)
class Geometry:
    """Shape and position of a voxel grid.

    `shape` counts voxels along the index axes (i, j, k). `affine` holds, row by row, the first three rows of the 4x4
    matrix that takes (i, j, k, 1) to the voxel's centre in RAS+ mm. Raises AFFINE_INVALID or FIELD_INVALID.
    """

    shape: tuple[int, int, int]
    affine: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or not all(0 < n <= MAX_AXIS_VOXELS for n in self.shape):
            raise AtlasError(
                Reason.FIELD_INVALID,
                f"A volume has three axes of 1 to {MAX_AXIS_VOXELS} voxels, this one has {list(self.shape)}.",
                field="shape",
                remedy="Crop or resample the image, or mend its header.",
            )
        if len(self.affine) != 12 or not all(map(math.isfinite, self.affine)):
            raise _affine_error("The affine must hold twelve finite numbers.")
        # A mm is 1e-6 to 1e3 of a voxel in anything that was scanned; outside, the header is garbage.
        if not all(1e-6 < s < 1e3 for s in self.spacing_mm) or abs(self._handedness) < 1e-3:
            raise _affine_error(f"The affine is singular or its voxel size {self.spacing_mm} mm is absurd.")

    @classmethod
    def from_matrix(cls, shape: tuple[int, int, int], matrix: Matrix) -> "Geometry":
        """Geometry of `shape` (i, j, k) under a 4x4 or 3x4 matrix from index to RAS+ mm."""
        return cls((int(shape[0]), int(shape[1]), int(shape[2])), tuple(float(v) for v in matrix[:3, :4].ravel()))

    @property
    def matrix(self) -> Matrix:
        """4x4 float64 matrix from index (i, j, k, 1) to RAS+ mm."""
        return np.vstack([np.array(self.affine, np.float64).reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])

    @property
    def array_shape(self) -> tuple[int, int, int]:
        """Shape (k, j, i) of a C-ordered array on this grid."""
        return self.shape[2], self.shape[1], self.shape[0]

    @property
    def voxel_count(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @cached_property
    def spacing_mm(self) -> Triple:
        """Distance between voxel centres along i, j and k in mm."""
        a = self.affine
        return cast(Triple, tuple(math.sqrt(a[c] ** 2 + a[4 + c] ** 2 + a[8 + c] ** 2) for c in range(3)))

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm^3; exact for sheared grids too."""
        return abs(float(np.linalg.det(self.matrix[:3, :3])))

    @property
    def orientation(self) -> str:
        """The nearest axis code, for example "LPS": where i, j and k grow to."""
        return "".join("RAS"[axis] if sign > 0 else "LPI"[axis] for axis, sign in zip(*self._nearest_axes, strict=True))

    @property
    def _nearest_axes(self) -> tuple[list[int], list[int]]:
        directions = self.matrix[:3, :3] / np.array(self.spacing_mm)
        axes, signs, free = [0, 0, 0], [1, 1, 1], {0, 1, 2}
        # The most clearly oriented index axis chooses its world axis first.
        for column in sorted(range(3), key=lambda c: -float(np.abs(directions[:, c]).max())):
            axis = max(sorted(free), key=lambda r: abs(float(directions[r, column])))
            free.remove(axis)
            axes[column], signs[column] = axis, 1 if directions[axis, column] >= 0 else -1
        return axes, signs

    @property
    def _handedness(self) -> float:
        """Determinant of the unit direction vectors: 1 or -1 for right angles, 0 if singular."""
        return float(np.linalg.det(np.array(self.affine).reshape(3, 4)[:, :3] / np.array(self.spacing_mm)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of shape and affine, lower-case hex."""
        # Adding 0.0 turns -0.0 into 0.0: equal matrices must have equal digests.
        return hashlib.sha256(struct.pack("<3q12d", *self.shape, *(v + 0.0 for v in self.affine))).hexdigest()

    def corners_mm(self) -> Matrix:
        """RAS+ mm of the eight outer corners of the grid (faces of the outer voxels), shape (8, 3)."""
        ends = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in self.shape], indexing="ij")).reshape(3, -1)
        return cast(Matrix, (self.matrix[:3, :3] @ ends + self.matrix[:3, 3:]).T)

    def is_close(self, other: "Geometry", tolerance_mm: float = CLOSE_MM) -> bool:
        """Whether the shapes agree and no corner of the two grids lies further apart than `tolerance_mm`."""
        return self.shape == other.shape and bool(np.abs(self.corners_mm() - other.corners_mm()).max() <= tolerance_mm)

    def __str__(self) -> str:
        """For messages: shape, spacing, orientation and origin."""
        spacing = " x ".join(f"{s:.4g}" for s in self.spacing_mm)
        origin = ", ".join(f"{v:.2f}" for v in self.matrix[:3, 3])
        return f"{'x'.join(map(str, self.shape))} voxels of {spacing} mm, {self.orientation}, origin ({origin})"

    def to_json(self) -> str:
        """Canonical JSON; `from_json` gives back an equal geometry."""
        return json.dumps({"shape": self.shape, "affine": self.affine}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Geometry":
        """Inverse of `to_json`. Raises FIELD_INVALID on anything else."""
        try:
            data = json.loads(text)
            shape, affine = tuple(int(n) for n in data["shape"]), tuple(float(v) for v in data["affine"])
        except (ValueError, TypeError, KeyError) as error:
            raise AtlasError(Reason.FIELD_INVALID, "This is not a geometry.", field="geometry") from error
        return cls(cast(tuple[int, int, int], shape), affine)


def network_grid(ct: Geometry, spacing_mm: float = 1.5) -> Geometry:
    """The grid on which models see `ct`: axis-aligned RAS+, isotropic, centred on the box of the CT's outer faces.

    Because the box is centred, flipping or re-ordering the CT's axes gives the same grid.
    """
    corners = ct.corners_mm()
    # Rounding to 1e-4 mm keeps float noise of equivalent headers from deciding about a voxel more or less.
    low, high = corners.min(axis=0).round(4), corners.max(axis=0).round(4)
    count = np.maximum(np.ceil((high - low) / spacing_mm - 1e-4), 1).astype(int)
    origin = (low + high) / 2 - (count - 1) / 2 * spacing_mm
    matrix = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    matrix[:3, 3] = origin.round(6)
    return Geometry.from_matrix((int(count[0]), int(count[1]), int(count[2])), matrix)


def require_same(first: Geometry, second: Geometry, *, first_name: str, second_name: str) -> None:
    """Raise GEOMETRY_MISMATCH, naming both, unless the two grids have the same digest."""
    if first.digest != second.digest:
        raise mismatch(first, second, first_name=first_name, second_name=second_name)


def mismatch(first: Geometry, second: Geometry, *, first_name: str, second_name: str) -> AtlasError:
    """The GEOMETRY_MISMATCH error that names both grids."""
    return AtlasError(
        Reason.GEOMETRY_MISMATCH,
        f"{first_name} has {first}; {second_name} has {second}.",
        field=first_name,
        remedy="Bring both to one grid, or mend the header that is wrong.",
    )


def _affine_error(message: str) -> AtlasError:
    return AtlasError(
        Reason.AFFINE_INVALID,
        message,
        field="affine",
        remedy="Mend the header (sform or qform), for example by converting the series from DICOM again.",
    )

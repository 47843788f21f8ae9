"""Where a header says that its voxels lie: sform, qform, and the unit of length."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.core.errors import AtlasError, Reason
from services.core.geometry import CLOSE_MM, Geometry

Matrix = npt.NDArray[np.float64]
_MM_PER_UNIT = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
_REMEDY = "Mend the header (sform or qform), for example by converting the series from DICOM again."


@dataclass(frozen=True)
class Placement:
    """The header fields that place a grid, as they were read: a mask written with them opens where its CT does.

    `quaternion` is (b, c, d), `offset` the qform's translation, `pixdim` the fields 0 to 3, `srow` the sform's three
    rows, all in the length unit of `units` (the field xyzt_units).
    """

    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]
    offset: tuple[float, ...]
    pixdim: tuple[float, ...]
    srow: tuple[float, ...]
    units: int

    @classmethod
    def of(cls, geometry: Geometry) -> "Placement":
        """A placement that holds nothing but the geometry's affine, as an sform of code 2 (aligned)."""
        return cls(0, 2, (0.0,) * 3, (0.0,) * 3, (1.0, *geometry.spacing_mm), geometry.affine, 2)

    def geometry(self, shape: tuple[int, int, int]) -> tuple[Geometry, Geometry | None, tuple[str, ...]]:
        """The grid of `shape`, the qform's if that is another one, and what was odd.

        The sform counts if its code is positive, else the qform.

        Raises AFFINE_INVALID if neither is there or the one that counts is singular or not finite.
        """
        if self.sform_code <= 0 and self.qform_code <= 0:
            raise AtlasError(
                Reason.AFFINE_INVALID,
                "The header has neither an sform nor a qform, so left and right are unknown.",
                field="affine",
                remedy=_REMEDY,
            )
        notes = []
        mm = _MM_PER_UNIT.get(self.units & 7, 1.0)
        if mm != 1.0:
            notes.append(f"Lengths are in {'metres' if mm > 1 else 'micrometres'}; they were taken to mm.")
        if self.sform_code <= 0:
            return Geometry.from_matrix(shape, mm * self._qform()), None, tuple(notes)
        geometry = Geometry.from_matrix(shape, mm * self._sform())
        other = None
        if self.qform_code > 0:
            try:
                other = Geometry.from_matrix(shape, mm * self._qform())
            except AtlasError:
                notes.append("The qform is not valid; the sform was taken.")
        if other is None or geometry.is_close(other, CLOSE_MM):
            return geometry, None, tuple(notes)
        notes.append(
            f"The sform says {geometry}, the qform {other}; the sform counts where nothing tells which is right."
        )
        return geometry, other, tuple(notes)

    def _sform(self) -> Matrix:
        return np.array(self.srow, np.float64).reshape(3, 4)

    def _qform(self) -> Matrix:
        """3x4 matrix of quaternion, voxel size and offset, as the NIfTI-1 standard defines it (method 2)."""
        b, c, d = self.quaternion
        length = b * b + c * c + d * d
        # A unit quaternion whose last part is stored in float32 may come out a little too long; more is an error.
        if not length <= 1.001:
            raise AtlasError(
                Reason.AFFINE_INVALID, "The qform's quaternion is not a rotation.", field="affine", remedy=_REMEDY
            )
        if length > 1.0 - 1e-7:
            a, (b, c, d) = 0.0, (v / length**0.5 for v in (b, c, d))
        else:
            a = (1.0 - length) ** 0.5
        rotation = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
            ]
        )
        flip = -1.0 if self.pixdim[0] < 0 else 1.0
        scale = np.abs(self.pixdim[1:4]) * (1.0, 1.0, flip)
        return np.column_stack([rotation * scale, self.offset])

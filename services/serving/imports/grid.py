"""A foreign network's voxels and windows on our grid."""

from collections.abc import Sequence

from services.core.errors import AtlasError, Reason
from services.serving.card import AXIS

_TOLERANCE = 0.01


def isotropic(spacing_mm: Sequence[float]) -> float:
    """The voxel edge in mm. Raises GRID_MISMATCH if the edges differ: the network grid has cubes."""
    low, high = min(spacing_mm), max(spacing_mm)
    if len(spacing_mm) != 3 or low <= 0 or high / low > 1 + _TOLERANCE:
        raise AtlasError(
            Reason.GRID_MISMATCH,
            f"It was trained on voxels of {' x '.join(f'{mm:g}' for mm in spacing_mm)} mm; the network grid has cubes.",
            field="spacing",
            remedy="Import a network that was trained on isotropic voxels.",
        )
    return round(sum(spacing_mm) / 3, 4)


def window_of(sides: Sequence[int], axes: str) -> tuple[int, int, int]:
    """A window's sides along the network's own `axes` as (z, y, x). Raises ValueError if they are not three."""
    x, y, z = (side for _, side in sorted(zip((AXIS[letter] for letter in axes), sides, strict=True)))
    return z, y, x

"""A foreign network's voxels and windows on our grid."""

from collections.abc import Sequence
from typing import Any

from services.core.errors import AtlasError, Reason
from services.serving.card import AXIS

USUAL_MM = 1.5
"""The grid of the shipped networks, and of the paper: models of one campaign share theirs."""
_TOLERANCE = 0.01


def placed(spacing_mm: Sequence[float], axes: str, wished_mm: float) -> dict[str, Any]:
    """The entries of a card that say on which grid a network of this spacing, along its own `axes`, is served.

    On the usual grid, or the one that was wished for; where the network sees finer voxels than that, on the finest of
    its own, so that it is not shown a blurred CT. Raises GRID_MISMATCH for edges that no CT has.
    """
    x, y, z = (float(edge) for _, edge in sorted(zip((AXIS[letter] for letter in axes), spacing_mm, strict=True)))
    finest = min(x, y, z)
    if not 0.25 <= finest <= max(x, y, z) <= 10:
        raise AtlasError(
            Reason.GRID_MISMATCH,
            f"It was trained on voxels of {x:g} x {y:g} x {z:g} mm; 0.25 to 10 mm can be served.",
            field="spacing",
            remedy="Ask its author for a network of the full resolution.",
        )
    grid_mm = wished_mm or (USUAL_MM if finest > USUAL_MM * (1 - _TOLERANCE) else round(finest, 4))
    entries: dict[str, Any] = {"grid_spacing_mm": grid_mm, "working_factor": 1}
    if any(abs(edge / grid_mm - 1) > _TOLERANCE for edge in (x, y, z)):
        entries["working_spacing_mm"] = (z, y, x)
    return entries


def window_of(sides: Sequence[int], axes: str) -> tuple[int, int, int]:
    """A window's sides along the network's own `axes` as (z, y, x). Raises ValueError if they are not three."""
    x, y, z = (side for _, side in sorted(zip((AXIS[letter] for letter in axes), sides, strict=True)))
    return z, y, x

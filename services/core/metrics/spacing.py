"""What a voxel size may be."""

import math

from services.core.errors import AtlasError, Reason
from services.core.geometry import Triple


def require_spacing(spacing_mm: Triple) -> None:
    """Raise FIELD_INVALID unless `spacing_mm` is three positive, finite lengths."""
    if len(spacing_mm) != 3 or not all(math.isfinite(size) and size > 0 for size in spacing_mm):
        raise AtlasError(Reason.FIELD_INVALID, f"{spacing_mm} is not a voxel size in mm.", field="spacing_mm")

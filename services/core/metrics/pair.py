"""Two masks on one grid, cut to the box that holds both: what every measure starts from."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from services.core import boxes
from services.core.boxes import crop
from services.core.errors import AtlasError, Reason

Mask = npt.NDArray[np.uint8] | npt.NDArray[np.bool_]
"""A mask (k, j, i): what is not 0 is set."""


@dataclass(frozen=True)
class Pair:
    """Two masks (k, j, i) of one shape, and how many of their voxels are set."""

    first: boxes.Mask
    second: boxes.Mask
    first_count: int
    second_count: int

    @classmethod
    def of(cls, first: Mask, second: Mask) -> "Pair":
        """Of two masks. Raises GEOMETRY_MISMATCH if their shapes differ, DTYPE_UNSUPPORTED unless uint8 or bool."""
        if first.ndim != 3 or first.shape != second.shape:
            raise AtlasError(
                Reason.GEOMETRY_MISMATCH,
                f"Masks of one shape (k, j, i) are compared, these have {first.shape} and {second.shape}.",
                field="second",
                remedy="Bring both to one grid.",
            )
        cropped = [crop(_as_bytes(mask, name)) for mask, name in ((first, "first"), (second, "second"))]
        regions = [mask.slices for mask in cropped if mask.voxels.size]
        box = tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*regions, strict=True))
        parts = [_as_bytes(mask, "")[box or (slice(0),) * 3] for mask in (first, second)]
        return cls(parts[0], parts[1], cropped[0].count, cropped[1].count)

    @property
    def both_empty(self) -> bool:
        """Whether no voxel is set in either mask."""
        return not (self.first_count or self.second_count)

    @property
    def one_empty(self) -> bool:
        """Whether a voxel is set in one mask only."""
        return (self.first_count == 0) != (self.second_count == 0)


def _as_bytes(mask: Mask, field: str) -> boxes.Mask:
    if mask.dtype == np.bool_:
        return mask.view(np.uint8)
    if mask.dtype != np.uint8:
        raise AtlasError(Reason.DTYPE_UNSUPPORTED, f"A mask is uint8 or bool, this is {mask.dtype}.", field=field)
    return cast(boxes.Mask, mask)

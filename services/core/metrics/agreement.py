"""All measures of two masks at once, each part of the work done once."""

import math
from dataclasses import dataclass

import numpy as np

from services.core.geometry import Triple
from services.core.metrics.hausdorff import hd95_mm_of
from services.core.metrics.nsd import DEFAULT_TOLERANCE_MM, nsd_of
from services.core.metrics.overlap import dsc_of
from services.core.metrics.pair import Mask, Pair
from services.core.metrics.spacing import require_spacing
from services.core.metrics.surface import Surface


@dataclass(frozen=True)
class Agreement:
    """How far the masks of one organ agree; what empty masks give is said in the package."""

    dsc: float
    nsd: float
    tolerance_mm: float
    hd95_mm: float
    first_ml: float
    second_ml: float

    @property
    def volume_difference_ml(self) -> float:
        """Volume of the second mask less that of the first."""
        return self.second_ml - self.first_ml


def agreement(
    first: Mask,
    second: Mask,
    spacing_mm: Triple,
    *,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    voxel_volume_mm3: float | None = None,
    with_hd95: bool = True,
) -> Agreement:
    """How far two masks (k, j, i) agree; `spacing_mm` is along i, j and k, as in `Geometry.spacing_mm`.

    `voxel_volume_mm3` is needed where the axes are not at right angles. HD95 is half of the work; where it is not asked
    for it is NaN. Raises GEOMETRY_MISMATCH, DTYPE_UNSUPPORTED or FIELD_INVALID.
    """
    pair = Pair.of(first, second)
    require_spacing(spacing_mm)
    voxel_ml = (math.prod(spacing_mm) if voxel_volume_mm3 is None else voxel_volume_mm3) / 1000
    if pair.both_empty or pair.one_empty:
        nsd, hd95_mm = (math.nan, math.nan) if pair.both_empty else (0.0, math.inf)
    else:
        surfaces = Surface.of(pair.first), Surface.of(pair.second)
        nsd = nsd_of(*surfaces, spacing_mm, tolerance_mm)
        hd95_mm = hd95_mm_of(*surfaces, spacing_mm) if with_hd95 else math.nan
    return Agreement(
        dsc=dsc_of(pair),
        nsd=nsd,
        tolerance_mm=tolerance_mm,
        hd95_mm=hd95_mm if with_hd95 else math.nan,
        first_ml=pair.first_count * voxel_ml,
        second_ml=pair.second_count * voxel_ml,
    )


def warm() -> None:
    """Compile or load every kernel, so that no volume waits for the compiler."""
    agreement(np.eye(2, dtype=np.uint8)[None], np.ones((1, 2, 2), np.uint8), (1.0, 1.0, 1.0))

"""Counts how attention meets the true errors of a label: by region, by voxel, by case.

The true error of an organ is where the ensemble's final label differs from the truth. What is thinner than
`LEAST_THICKNESS_MM` belongs to the border; the regions of error are the 26-connected components of the rest of at least
`LEAST_ML`. A region of attention is a 26-connected component of an organ's attention, of whatever size.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

import numpy as np
from scipy import ndimage

from benchmarks.error_detection.cases import Array, Mask
from services.core.boxes import crop
from services.core.geometry import Geometry

LEAST_ML = 0.5
LEAST_THICKNESS_MM = 4.0
LEAST_IOU = 0.1
_TOUCHING = np.ones((3, 3, 3), bool)


@dataclass
class Counts:
    """Sums over organs and cases, of which all figures are ratios; volumes in voxels or ml as named."""

    error_regions: int = 0
    errors_touched: int = 0
    errors_met: int = 0
    attention_regions: int = 0
    attention_right: int = 0
    attention_met: int = 0
    error_ml: float = 0.0
    attention_ml: float = 0.0
    common_ml: float = 0.0
    cases: int = 0
    wrong_cases: int = 0
    found_cases: int = 0
    clean_cases_silent: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def sensitivity(self) -> float:
        """Share of the error regions that attention touches."""
        return _share(self.errors_touched, self.error_regions)

    @property
    def precision(self) -> float:
        """Share of the attention regions that touch an error region."""
        return _share(self.attention_right, self.attention_regions)

    @property
    def iou10_sensitivity(self) -> float:
        """Share of the error regions that one attention region meets with IoU above 0.1."""
        return _share(self.errors_met, self.error_regions)

    @property
    def iou10_precision(self) -> float:
        """Share of the attention regions that meet one error region with IoU above 0.1."""
        return _share(self.attention_met, self.attention_regions)

    @property
    def ml_per_true_ml(self) -> float:
        """Attention in ml for each ml of true error."""
        return _share(self.attention_ml, self.error_ml)

    @property
    def voxel_sensitivity(self) -> float:
        """Share of the true error, border included, that attention covers."""
        return _share(self.common_ml, self.error_ml)

    @property
    def voxel_precision(self) -> float:
        """Share of the attention that is true error, border included."""
        return _share(self.common_ml, self.attention_ml)

    @property
    def voxel_dice(self) -> float:
        """Dice of attention against error, as the paper reports it."""
        return _share(2 * self.common_ml, self.attention_ml + self.error_ml)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


@dataclass
class Errors:
    """The true error of one organ (k, j, i): all of it, and its numbered regions with their sizes in voxels."""

    voxels: Mask
    regions: Array
    count: int
    sizes: Array


def errors_of(label: Mask, truth: Mask, geometry: Geometry) -> Errors:
    """The true error of a label (k, j, i)."""
    wrong = label != truth
    regions = np.zeros(wrong.shape, np.int32)
    box = box_of(wrong)
    size = [max(1, round(LEAST_THICKNESS_MM / s)) for s in geometry.spacing_mm[::-1]]
    # Nothing is wrong beyond the box, as beyond the grid: the opening is the same.
    found, count = ndimage.label(_opened(wrong[box], size), _TOUCHING)
    sizes = np.bincount(found.ravel(), minlength=count + 1)
    keep = sizes * geometry.voxel_volume_mm3 / 1000 >= LEAST_ML
    keep[0] = False
    regions[box] = (np.cumsum(keep) * keep)[found]
    return Errors(wrong, regions, int(keep.sum()), sizes[keep])


def box_of(mask: Mask) -> tuple[slice, slice, slice]:
    """The smallest box of a mask (k, j, i); one voxel of the grid if it is empty."""
    box = crop(mask.view(np.uint8))
    return box.slices if box.voxels.size else (slice(0, 1), slice(0, 1), slice(0, 1))


def _opened(mask: Mask, size: list[int]) -> Mask:
    eroded = ndimage.minimum_filter(mask, size, mode="constant", cval=0, origin=[-(n % 2 == 0) for n in size])
    return np.asarray(ndimage.maximum_filter(eroded, size, mode="constant", cval=0), bool)


def judge(errors: Errors, attention: Mask, geometry: Geometry) -> Counts:
    """The counts of one organ; `cases` and what belongs to it stay 0."""
    ml = geometry.voxel_volume_mm3 / 1000
    box = box_of(attention)
    marked, regions = attention[box], errors.regions[box]
    found, count = ndimage.label(marked, _TOUCHING)
    counts = Counts(
        error_regions=errors.count,
        attention_regions=count,
        error_ml=float(np.count_nonzero(errors.voxels)) * ml,
        attention_ml=float(np.count_nonzero(marked)) * ml,
        common_ml=float(np.count_nonzero(marked & errors.voxels[box])) * ml,
    )
    both = (found > 0) & (regions > 0)
    if not both.any():
        return counts
    pairs, common = np.unique(np.stack([regions[both], found[both]]), axis=1, return_counts=True)
    sizes = np.bincount(found.ravel(), minlength=count + 1)
    union = errors.sizes[pairs[0] - 1] + sizes[pairs[1]] - common
    met = common / union > LEAST_IOU
    counts.errors_touched = len(np.unique(pairs[0]))
    counts.attention_right = len(np.unique(pairs[1]))
    counts.errors_met = len(np.unique(pairs[0][met]))
    counts.attention_met = len(np.unique(pairs[1][met]))
    return counts


def counted(counts: Iterable[Counts]) -> Counts:
    """The sum over organs of one case, or of one organ by itself, and whether there was an error and it was found."""
    together = sum(counts, Counts())
    together.cases = 1
    together.wrong_cases = int(together.error_regions > 0)
    together.found_cases = int(together.errors_touched > 0)
    together.clean_cases_silent = int(together.error_regions == 0 and together.attention_regions == 0)
    return together


@dataclass
class Tally:
    """Counts of one method over many cases, in all and by organ; in the latter a case is one with that organ."""

    total: Counts = field(default_factory=Counts)
    by_organ: dict[str, Counts] = field(default_factory=dict)

    def add(self, case: Mapping[str, Counts]) -> None:
        """Add one case's organs."""
        self.total += counted(case.values())
        for organ, counts in case.items():
            self.by_organ[organ] = self.by_organ.get(organ, Counts()) + counted([counts])

"""Attention: which voxels of which organs are probably wrong, and what follows from it for a case.

A profile is a named rule that turns an ensemble into attention, organ by organ. What all profiles share is here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from services.core.boxes import Boxed
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.uncertainty.priors.findings import Finding


class Cause(Enum):
    """What speaks against the label in a region."""

    ADD = "add"
    """The models see the organ where the label does not hold it."""
    REMOVE = "remove"
    """The models doubt voxels of the label."""
    OVERLAP = "overlap"
    """Another organ's label holds the same voxels."""
    PRIOR = "prior"
    """An anatomical rule points there."""
    LIKE = "like"
    """In the CT, tissue beside the label looks like the organ."""
    UNLIKE = "unlike"
    """In the CT, tissue of the label does not look like the organ."""

    @property
    def sign(self) -> int:
        """1 if the organ is missing there, -1 if the label should not be there, 0 if it is not told."""
        return {Cause.ADD: 1, Cause.LIKE: 1, Cause.REMOVE: -1, Cause.UNLIKE: -1}.get(self, 0)


@dataclass(frozen=True)
class Region:
    """Connected voxels of one organ that may be wrong in one way. `corner`, `size` and `centre` run k, j, i.

    `disagreement` is the share of the ensemble's entropy that is between its models, 0 to 1; 0 if a rule pointed here.
    `findings` are what anatomical rules say for it, the gravest first: one alone if a rule pointed here.
    """

    organ: str
    cause: Cause
    corner: tuple[int, int, int]
    size: tuple[int, int, int]
    centre: tuple[float, float, float]
    volume_mm3: float
    probability: float
    disagreement: float = 0.0
    findings: tuple[Finding, ...] = ()

    @property
    def expected_mm3(self) -> float:
        """Volume that is expected to be wrong: what regions are ranked by."""
        return self.probability * self.volume_mm3


@dataclass(frozen=True)
class OrganScore:
    """One organ's attention in numbers.

    `voxels` ask for attention, `heat_sum` and `heat_max` are of the stored heat (0 to 255 a voxel). The other counts
    say how many voxels each of the three signs flagged; a voxel may have several. `expected_error_mm3` is the volume
    expected to be wrong, of a profile that has regions.
    """

    organ: str
    voxels: int
    heat_sum: int
    heat_max: int
    inconsistency_voxels: int
    uncertainty_voxels: int
    overlap_voxels: int
    expected_error_mm3: float = 0.0


@dataclass(frozen=True)
class OrganAttention:
    """Where one organ is probably wrong: uint8 heat on the grid of the predictions, above 0 where it asks to look."""

    heat: Boxed
    score: OrganScore
    regions: tuple[Region, ...] = ()
    """Most urgent first; none of a profile that has no regions."""


class Attend(Protocol):
    """The rule itself."""

    def __call__(
        self,
        ensemble: Ensemble,
        organs: Sequence[str],
        scanned: Geometry | None = None,
        ct: npt.NDArray[np.int16] | None = None,
        /,
    ) -> Iterator[OrganAttention]:
        """The attention of the organs named, in that order; every one of them is an organ of the ensemble.

        `scanned` is the CT's own geometry, if its box may be another than the grid's; `ct` is its HU (k, j, i) on the
        grid, which a profile may leave aside.
        """


MAX_REGIONS = 256
"""Regions that are listed for a map, the most urgent ones; heat, sums and priority know all."""
MAX_FINDINGS = 16
"""Findings that a region keeps, the gravest ones; its probability knows all."""


@dataclass(frozen=True)
class Profile:
    """A rule that turns predictions into attention. `version` changes whenever its results do.

    `priority` sums up the organs of a case; cases with more come first. `urgency` orders organs within a case.
    """

    name: str
    version: str
    description: str
    attend: Attend
    reads_ct: bool
    priority: Callable[[Sequence[OrganScore]], int]
    urgency: Callable[[OrganScore], float]


def flagged_voxels(scores: Sequence[OrganScore]) -> int:
    """(organ, voxel) pairs that ask for attention; 0 if there are none."""
    return sum(score.voxels for score in scores)


def expected_error_mm3(scores: Sequence[OrganScore]) -> int:
    """Volume that is expected to be wrong, in whole mm^3; 0 if nothing asks for attention."""
    return round(sum(score.expected_error_mm3 for score in scores))


def ranked(scores: Sequence[OrganScore], urgency: Callable[[OrganScore], float]) -> list[OrganScore]:
    """The organs that ask for attention, the most urgent first; equal ones stay in their order."""
    return sorted((score for score in scores if score.heat_sum > 0), key=urgency, reverse=True)


def listed(regions: Iterable[Region]) -> list[Region]:
    """The regions of a case that are listed, the most urgent first; equal ones stay in their order."""
    return sorted(regions, key=lambda region: -region.expected_mm3)[:MAX_REGIONS]


def attention_size(scores: Sequence[OrganScore], slices: int) -> float:
    """Sum over organs of the heat divided by that organ's own maximum, divided by the number of slices.

    An organ without attention adds 0, where the original divided by zero and got NaN.
    """
    return sum(score.heat_sum / score.heat_max for score in scores if score.heat_sum > 0) / slices

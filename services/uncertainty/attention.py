"""Attention: which voxels of which organs are probably wrong, and what follows from it for a case.

A profile is a named rule that turns an ensemble into attention, organ by organ. What all profiles share is here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from services.core.boxes import Boxed
from services.core.ensemble import Ensemble


@dataclass(frozen=True)
class OrganScore:
    """One organ's attention in numbers.

    `voxels` ask for attention, `heat_sum` and `heat_max` are of the stored heat (0 to 255 a voxel). The other counts
    say how many voxels each of the three signs flagged; a voxel may have several.
    """

    organ: str
    voxels: int
    heat_sum: int
    heat_max: int
    inconsistency_voxels: int
    uncertainty_voxels: int
    overlap_voxels: int


@dataclass(frozen=True)
class OrganAttention:
    """Where one organ is probably wrong: uint8 heat on the grid of the predictions, above 0 where it asks to look."""

    heat: Boxed
    score: OrganScore


Attend = Callable[[Ensemble, Sequence[str]], Iterator[OrganAttention]]
"""The attention of the organs named, in that order; every one of them is an organ of the ensemble."""


@dataclass(frozen=True)
class Profile:
    """A rule that turns predictions into attention. `version` changes whenever its results do."""

    name: str
    version: int
    description: str
    attend: Attend


def priority(scores: Sequence[OrganScore]) -> int:
    """(organ, voxel) pairs that ask for attention; cases with more of them come first. 0 if there are none."""
    return sum(score.voxels for score in scores)


def ranked(scores: Sequence[OrganScore]) -> list[OrganScore]:
    """The organs that ask for attention, the largest sum of stored heat first; equal ones stay in their order."""
    return sorted((score for score in scores if score.heat_sum > 0), key=lambda score: -score.heat_sum)


def attention_size(scores: Sequence[OrganScore], slices: int) -> float:
    """Sum over organs of the heat divided by that organ's own maximum, divided by the number of slices.

    An organ without attention adds 0, where the original divided by zero and got NaN.
    """
    return sum(score.heat_sum / score.heat_max for score in scores if score.heat_sum > 0) / slices

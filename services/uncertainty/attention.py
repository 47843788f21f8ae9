"""Attention: which voxels of which organs are probably wrong, and what follows from it for a case.

A profile is a named rule that turns an ensemble into attention, organ by organ. What all profiles share is here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from services.core.boxes import Boxed
from services.core.ensemble import Ensemble


@dataclass(frozen=True)
class OrganAttention:
    """Where one organ is probably wrong.

    `heat` is uint8 on the grid of the predictions; a voxel asks for attention where it is above 0. The counts say which
    of the three signs flagged how many voxels; a voxel may have several.
    """

    organ: str
    heat: Boxed
    inconsistency_voxels: int
    uncertainty_voxels: int
    overlap_voxels: int

    @property
    def voxels(self) -> int:
        """Number of voxels that ask for attention."""
        return self.heat.count

    @property
    def heat_sum(self) -> int:
        """Sum of the stored heat, 0 to 255 a voxel."""
        return int(self.heat.voxels.sum(dtype="int64"))


Attend = Callable[[Ensemble, Sequence[str]], Iterator[OrganAttention]]
"""The attention of the organs named, in that order; every one of them is an organ of the ensemble."""


@dataclass(frozen=True)
class Profile:
    """A rule that turns predictions into attention. `version` changes whenever its results do."""

    name: str
    version: int
    description: str
    attend: Attend


def priority(organs: Sequence[OrganAttention]) -> int:
    """(organ, voxel) pairs that ask for attention; cases with more of them come first. 0 if there are none."""
    return sum(organ.voxels for organ in organs)


def ranked(organs: Sequence[OrganAttention]) -> list[OrganAttention]:
    """The organs that ask for attention, the largest sum of stored heat first; equal ones stay in their order."""
    return sorted((o for o in organs if o.heat_sum > 0), key=lambda organ: -organ.heat_sum)


def attention_size(organs: Sequence[OrganAttention], slices: int) -> float:
    """Sum over organs of the heat divided by that organ's own maximum, divided by the number of slices.

    An organ with no attention adds 0, where the original divided by zero and got NaN.
    """
    return sum(organ.heat_sum / int(organ.heat.voxels.max()) for organ in organs if organ.heat_sum > 0) / slices

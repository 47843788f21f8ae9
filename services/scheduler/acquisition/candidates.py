"""What is known about a volume when a round is ranked, and the one signature of all strategies."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from services.scheduler.acquisition.cost import PRIOR_MINUTES

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Candidate:
    """A volume whose labels are ready and that nobody has reviewed. All volumes of tissue are in mm^3."""

    volume: str
    """Its id."""
    priority: int = 0
    """The attention profile's own sum; under "parity" the (organ, voxel) pairs that ask for attention."""
    attention_mm3: float = 0.0
    """Sum over organs of the tissue that asks for attention."""
    expected_error_mm3: float = 0.0
    """Sum over regions of probability of error x mm^3; `attention_mm3` under a profile without probabilities."""
    organ_errors_mm3: Mapping[str, float] = field(default_factory=dict)
    """The same by organ, of those that ask for attention."""
    minutes: float = PRIOR_MINUTES
    """What a review is expected to take, by the cost model."""
    organs_mm3: Mapping[str, float] = field(default_factory=dict)
    """Labelled tissue by organ, whoever labelled it."""
    spacing_mm: Triple = (1.0, 1.0, 1.0)
    """Between voxel centres, along the axes of the stored array."""
    extent_mm: Triple = (0.0, 0.0, 0.0)
    """Of the field of view, along the same axes."""
    hu: tuple[float, ...] = ()
    """Statistics of the CT's voxels in HU, the same ones in the same order for all volumes of a campaign."""
    source: str = ""
    """The dataset that it came from."""

    @property
    def foreground_mm3(self) -> float:
        """Labelled tissue of all organs."""
        return sum(self.organs_mm3.values())


@dataclass(frozen=True)
class Setting:
    """What a strategy knows beside the candidates."""

    seed: str = ""
    """Of all that is drawn by lot."""
    reviewed: Sequence[Candidate] = ()
    """Volumes that people have looked at already in this campaign."""


Strategy = Callable[[Sequence[Candidate], Setting], Iterator[Candidate]]
"""Gives the candidates that it wants reviewed, most wanted first, each once, and leaves out those it does not want.

The order follows from the candidates and the setting, never from the order in which the candidates came. It is lazy:
whoever has budget for ten takes ten.
"""

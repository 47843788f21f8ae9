"""How many minutes a review takes, learnt from the finished ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PRIOR_MINUTES = 15.0
"""The paper's: 400 cases of 15 minutes are its 12.5 working days."""
LEAST_MINUTES, MOST_MINUTES = 1.0, 120.0
"""A time outside is taken as the bound: a claim that was accepted unseen, or a desk that was left."""
PRIOR_REVIEWS = 5.0
"""As many finished reviews weigh as much as the prior."""
_HUBER_MINUTES = 10.0
_PASSES = 20


@dataclass(frozen=True)
class Work:
    """What there is to look at in a case."""

    organs: int = 0
    """That ask for attention."""
    regions: int = 0
    attention_mm3: float = 0.0


@dataclass(frozen=True)
class CostModel:
    """minutes = 15 + w . (1, organs / 5, regions / 10, attention in 100 ml), at least 1 and at most 120."""

    weights: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    reviews: int = 0
    """Finished reviews that it has learnt from."""

    def minutes(self, work: Work) -> float:
        """What a review is expected to take."""
        return float(np.clip(PRIOR_MINUTES + _row(work) @ np.array(self.weights), LEAST_MINUTES, MOST_MINUTES))


def learn(finished: Sequence[tuple[Work, float]]) -> CostModel:
    """The model after these reviews, (what there was to do, minutes it took).

    w minimises  sum_i huber(minutes_i - 15 - w . x_i; 10 minutes) + (5 / 2) |w|^2,  by reweighted least squares. The
    penalty is the prior: without reviews every case takes 15 minutes, and with few the model stays near that. Beyond
    10 minutes a deviation counts linearly, so that one desk that was left for lunch does not move the rest.
    """
    if not finished:
        return CostModel()
    x = np.stack([_row(work) for work, _ in finished])
    y = np.clip([minutes for _, minutes in finished], LEAST_MINUTES, MOST_MINUTES) - PRIOR_MINUTES
    weights = np.zeros(x.shape[1])
    for _ in range(_PASSES):
        deviation = np.abs(y - x @ weights)
        trust = np.minimum(1.0, _HUBER_MINUTES / np.maximum(deviation, _HUBER_MINUTES))
        weights = np.linalg.solve((x.T * trust) @ x + PRIOR_REVIEWS * np.eye(x.shape[1]), (x.T * trust) @ y)
    bias, organs, regions, attention = (float(weight) for weight in weights)
    return CostModel((bias, organs, regions, attention), len(finished))


def _row(work: Work) -> NDArray[np.float64]:
    return np.array([1.0, work.organs / 5, work.regions / 10, work.attention_mm3 / 1e5])

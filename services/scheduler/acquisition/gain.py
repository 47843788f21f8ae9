"""What the strategy gained over the control arm, with a confidence interval."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
_DRAWS, _AT_ONCE, _SEED = 4000, 200, 8448


@dataclass(frozen=True)
class Outcome:
    """What came of one finished review."""

    revised: bool
    minutes: float
    revised_mm3: float | None
    """Tissue whose label the reviewer changed; None if it was not measured."""


@dataclass(frozen=True)
class Gain:
    """One measure in both arms, and the strategy's minus the control arm's."""

    strategy: float
    control: float
    lower: float
    """Bounds of the difference, two-sided."""
    upper: float

    @property
    def difference(self) -> float:
        """Strategy minus control."""
        return self.strategy - self.control


Measure = Callable[[Sequence[Outcome], Sequence[Outcome], float], Gain | None]
"""(strategy's outcomes, control arm's outcomes, confidence) to the gain; None if there are too few to tell."""


def in_revised_share(strategy: Sequence[Outcome], control: Sequence[Outcome], confidence: float) -> Gain | None:
    """Share of cases that had to be revised. Newcombe's hybrid score interval (1998, method 10); one case an arm does.

    With Wilson's intervals (l, u) of both shares p:  difference - sqrt((p1 - l1)^2 + (u2 - p2)^2)  to
    difference + sqrt((u1 - p1)^2 + (p2 - l2)^2).
    """
    if not strategy or not control:
        return None
    p, below_p, above_p = _wilson(strategy, confidence)
    q, below_q, above_q = _wilson(control, confidence)
    return Gain(p, q, p - q - math.hypot(below_p, above_q), p - q + math.hypot(above_p, below_q))


def in_mm3_per_case(strategy: Sequence[Outcome], control: Sequence[Outcome], confidence: float) -> Gain | None:
    """Tissue that was relabelled, in mm^3 a case. Percentile bootstrap; from two measured cases an arm."""
    return _bootstrapped(strategy, control, confidence, lambda outcome: 1.0)


def in_mm3_per_minute(strategy: Sequence[Outcome], control: Sequence[Outcome], confidence: float) -> Gain | None:
    """Tissue that was relabelled, in mm^3 a minute of work: sum over sum, so that long reviews weigh as they last.

    Percentile bootstrap; from two measured cases an arm.
    """
    return _bootstrapped(strategy, control, confidence, lambda outcome: outcome.minutes)


def _wilson(outcomes: Sequence[Outcome], confidence: float) -> tuple[float, float, float]:
    """The share revised, and how far the bounds of its score interval lie below and above it."""
    n, share = len(outcomes), sum(outcome.revised for outcome in outcomes) / len(outcomes)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return share, share - (middle - half), (middle + half) - share


def _bootstrapped(
    strategy: Sequence[Outcome], control: Sequence[Outcome], confidence: float, cost: Callable[[Outcome], float]
) -> Gain | None:
    """Sum of mm^3 over sum of cost; both arms are drawn again 4000 times, by a fixed seed, so that it is repeatable."""
    arms = [_measured(outcomes, cost) for outcomes in (strategy, control)]
    if any(len(arm) < 2 or not arm[:, 1].sum() for arm in arms):
        return None
    generator = np.random.default_rng(_SEED)
    drawn = [_redrawn(arm, generator) for arm in arms]
    lower, upper = np.quantile(drawn[0] - drawn[1], [(1 - confidence) / 2, (1 + confidence) / 2])
    value, reference = (float(arm[:, 0].sum() / arm[:, 1].sum()) for arm in arms)
    return Gain(value, reference, float(lower), float(upper))


def _measured(outcomes: Sequence[Outcome], cost: Callable[[Outcome], float]) -> NDArray[np.float64]:
    """(n, 2): mm^3 and cost, in an order of their own."""
    rows = sorted((o.revised_mm3, cost(o)) for o in outcomes if o.revised_mm3 is not None)
    return np.array(rows, np.float64).reshape(-1, 2)


def _redrawn(arm: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    ratios = []
    for _ in range(_DRAWS // _AT_ONCE):
        sums = arm[generator.integers(len(arm), size=(_AT_ONCE, len(arm)))].sum(axis=1)
        ratios.append(sums[:, 0] / np.maximum(sums[:, 1], np.finfo(np.float64).tiny))
    return np.concatenate(ratios)


MEASURES: dict[str, Measure] = {
    "revised_share": in_revised_share,
    "revised_mm3_per_case": in_mm3_per_case,
    "revised_mm3_per_minute": in_mm3_per_minute,
}
"""By the names of `scheduler.v1.Gain.Measure`."""

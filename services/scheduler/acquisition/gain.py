"""What the strategy gained over the control arm, with a confidence interval."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
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
    """Tissue that was relabelled, in mm^3 a case. Permutation interval."""
    return _permuted(strategy, control, confidence, lambda outcome: 1.0)


def in_mm3_per_minute(strategy: Sequence[Outcome], control: Sequence[Outcome], confidence: float) -> Gain | None:
    """Tissue that was relabelled, in mm^3 a minute of work: sum over sum, so that long reviews weigh as they last.

    Permutation interval.
    """
    return _permuted(strategy, control, confidence, lambda outcome: outcome.minutes)


def _wilson(outcomes: Sequence[Outcome], confidence: float) -> tuple[float, float, float]:
    """The share revised, and how far the bounds of its score interval lie below and above it."""
    n, share = len(outcomes), sum(outcome.revised for outcome in outcomes) / len(outcomes)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return share, share - (middle - half), (middle + half) - share


def _permuted(
    strategy: Sequence[Outcome], control: Sequence[Outcome], confidence: float, cost: Callable[[Outcome], float]
) -> Gain | None:
    """Sum of mm^3 over sum of cost, with the gains that a two-sided permutation test of the arms does not reject.

    If the strategy chooses no otherwise than the lot, 0 is left out in at most 1 - confidence, however few cases there
    are and however skewed their mm^3. None if so few splits of the cases into two arms exist that nothing is rejected:
    at 95 % that takes 40, as 8 cases against 2 have.
    """
    chosen, drawn = (_measured(outcomes, cost) for outcomes in (strategy, control))
    if not (chosen[:, 1].any() and drawn[:, 1].any()):
        return None
    bounds = np.concatenate([_bounds(chosen, drawn, splits) for splits in _splits(len(chosen), len(drawn))])
    tail = int((1 - confidence) / 2 * len(bounds))
    lower = float(np.sort(np.where(np.isfinite(bounds), bounds, -np.inf))[tail])
    upper = float(np.sort(np.where(np.isfinite(bounds), bounds, np.inf))[-1 - tail])
    if math.isinf(lower) or math.isinf(upper):
        return None
    value, reference = (float(arm[:, 0].sum() / arm[:, 1].sum()) for arm in (chosen, drawn))
    return Gain(value, reference, lower, upper)


def _measured(outcomes: Sequence[Outcome], cost: Callable[[Outcome], float]) -> NDArray[np.float64]:
    """(n, 2): mm^3 and cost, in an order of their own."""
    rows = sorted((o.revised_mm3, cost(o)) for o in outcomes if o.revised_mm3 is not None)
    return np.array(rows, np.float64).reshape(-1, 2)


def _splits(strategy: int, control: int) -> Iterator[NDArray[np.bool_]]:
    """(splits, cases): which cases, the strategy's first, would be the control arm.

    All splits where they are few; else the one that was and 4000 by a fixed seed, so that it is repeatable.
    """
    cases = strategy + control
    if math.comb(cases, control) <= _DRAWS:
        chosen = np.array(list(combinations(range(cases), control)))
        splits = np.zeros((len(chosen), cases), np.bool_)
        np.put_along_axis(splits, chosen, True, axis=1)
        yield splits
        return
    as_it_was = np.arange(cases)[None] >= strategy
    yield as_it_was
    generator = np.random.default_rng(_SEED)
    for _ in range(_DRAWS // _AT_ONCE):
        yield generator.permuted(np.repeat(as_it_was, _AT_ONCE, axis=0), axis=1)


def _bounds(
    strategy: NDArray[np.float64], control: NDArray[np.float64], splits: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(splits,): the gain from which on the arms of a split differ by as much as the arms that were, in mm^3 by cost.

    Where a split exchanges the cases a of the strategy for b of the control arm, that is the mean of a minus that of b
    if all cost 1. In general, with y mm^3 and cost t, sums Y and T over the arms of the split, and r = Y / T of the
    arms s and c that were:  (d_s / T_s + d_c / T_c) / (t_b / T_s + t_a / T_c),  d = y_a - y_b - r (t_a - t_b).
    Not finite for the split that was.
    """
    given, taken = splits[:, : len(strategy)] @ strategy, ~splits[:, len(strategy) :] @ control
    mm3, cost = (given - taken).T
    costs = np.concatenate([strategy[:, 1], control[:, 1]])
    shift, per_gain = np.zeros(len(splits)), np.zeros(len(splits))
    with np.errstate(divide="ignore", invalid="ignore"):
        for arm, members, other in ((strategy, ~splits, taken), (control, splits, given)):
            mm3_by_cost = arm[:, 0].sum() / arm[:, 1].sum()
            total = members @ costs
            shift += (mm3 - mm3_by_cost * cost) / total
            per_gain += other[:, 1] / total
        bounds: NDArray[np.float64] = shift / per_gain
    return bounds


MEASURES: dict[str, Measure] = {
    "revised_share": in_revised_share,
    "revised_mm3_per_case": in_mm3_per_case,
    "revised_mm3_per_minute": in_mm3_per_minute,
}
"""By the names of `scheduler.v1.Gain.Measure`."""

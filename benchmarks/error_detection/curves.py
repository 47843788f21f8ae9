"""Mean DSC against the share of cases reviewed, for each acquisition function on each profile's numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from benchmarks.error_detection.cases import Array
from benchmarks.error_detection.looked import Looked
from benchmarks.reviewing import review_minutes
from services.scheduler import facts
from services.scheduler.acquisition import ORDERS, Candidate, Setting
from services.scheduler.acquisition.cost import learn

CONTROL = "random"
_DRAWS = 50
_RESAMPLES, _RESAMPLED_DRAWS = 400, 10


@dataclass(frozen=True)
class Scored:
    """A case as acquisition sees it, by profile, and the DSC of its organs before anyone reviews it."""

    name: str
    looked: Mapping[str, Looked]
    dsc: Sequence[float]


class Gain(NamedTuple):
    """A strategy's area under its curve minus that of reviewing at random, with its 95 % interval."""

    mean: float
    low: float
    high: float


def candidates(cases: Sequence[Scored], profile: str) -> list[Candidate]:
    """The cases as the scheduler's strategies see them.

    The cost model has learnt from reviews of these cases by the script's clock: what a campaign knows in the long run.
    """
    work = [facts.work(case.looked[profile].facts) for case in cases]
    cost = learn([(one, review_minutes(one)) for one in work])
    return [
        facts.candidate(case.name, case.looked[profile].priority, case.looked[profile].facts, cost) for case in cases
    ]


def curve(cases: Sequence[Scored], order: Sequence[str]) -> Array:
    """Mean DSC over all organs after 0, 1, ... all cases, reviewed in this order; what is reviewed becomes the truth.

    Cases that a strategy leaves out come last, in the order of `cases`. Raises ValueError if two have one name.
    """
    before = {case.name: case.dsc for case in cases}
    if len(before) < len(cases):
        raise ValueError("two cases have one name")
    rest = [name for name in before if name not in set(order)]
    gains = np.array([sum(1 - dsc for dsc in before[name]) for name in [*order, *rest]])
    organs = sum(len(dsc) for dsc in before.values())
    start = sum(sum(dsc) for dsc in before.values())
    return np.asarray((start + np.concatenate([[0], np.cumsum(gains)])) / organs)


def curves(cases: Sequence[Scored], profile: str, draws: int = _DRAWS) -> dict[str, Array]:
    """The curve of every strategy; "random" is the mean of `draws` of them."""
    pool = candidates(cases, profile)
    found = {}
    for name, order in ORDERS.items():
        seeds = range(draws if name == CONTROL else 1)
        ways = [[c.volume for c in order(pool, Setting(seed=str(seed)))] for seed in seeds]
        found[name] = np.mean([curve(cases, way) for way in ways], axis=0)
    return found


def area(found: Array) -> float:
    """Area under a curve over the reviewed share, 0 to 1, by trapezoids."""
    return float(np.mean((found[1:] + found[:-1]) / 2))


def gains(cases: Sequence[Scored], profile: str, found: Mapping[str, Array]) -> dict[str, Gain]:
    """What every strategy gains over reviewing at random, by the curves `found` of these cases.

    The interval is that of percentiles over cases drawn with replacement, which every strategy orders anew.
    """
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(_RESAMPLES):
        chosen = generator.integers(len(cases), size=len(cases))
        again = [replace(cases[index], name=f"{place}") for place, index in enumerate(chosen)]
        drawn.append(_over_random(curves(again, profile, _RESAMPLED_DRAWS)))
    gained = {}
    for name, mean in _over_random(found).items():
        low, high = np.percentile([one[name] for one in drawn], [2.5, 97.5])
        gained[name] = Gain(mean, float(low), float(high))
    return gained


def _over_random(found: Mapping[str, Array]) -> dict[str, float]:
    return {name: area(one) - area(found[CONTROL]) for name, one in found.items()}

"""Mean DSC against the share of cases reviewed, for each acquisition function on each profile's numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.error_detection.cases import Array
from benchmarks.error_detection.looked import Looked
from benchmarks.reviewing import review_minutes
from services.scheduler import facts
from services.scheduler.acquisition import ORDERS, Candidate, Setting
from services.scheduler.acquisition.cost import learn

CONTROL = "random"
_DRAWS = 50


@dataclass(frozen=True)
class Scored:
    """A case as acquisition sees it, by profile, and the DSC of its organs before anyone reviews it."""

    name: str
    looked: Mapping[str, Looked]
    dsc: Sequence[float]


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


def curves(cases: Sequence[Scored], profile: str) -> dict[str, Array]:
    """The curve of every strategy; "random" is the mean of many draws."""
    pool = candidates(cases, profile)
    found = {}
    for name, order in ORDERS.items():
        draws = range(_DRAWS if name == CONTROL else 1)
        ways = [[c.volume for c in order(pool, Setting(seed=str(draw)))] for draw in draws]
        found[name] = np.mean([curve(cases, way) for way in ways], axis=0)
    return found


def area(found: Array) -> float:
    """Area under a curve over the reviewed share, 0 to 1, by trapezoids."""
    return float(np.mean((found[1:] + found[:-1]) / 2))


def gain_over_random(found: Mapping[str, Array]) -> float:
    """The best strategy's area minus that of reviewing at random."""
    return max(map(area, found.values())) - area(found[CONTROL])

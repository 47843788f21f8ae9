"""Mean DSC against the share of cases reviewed, for each acquisition function on each profile's numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.scheduler.acquisition import ORDERS, Candidate, Setting

_DRAWS = 50


@dataclass(frozen=True)
class Scored:
    """A case as acquisition sees it, by profile, and the DSC of its organs before anyone reviews it."""

    candidates: Mapping[str, Candidate]
    dsc: Sequence[float]


def area(cases: Sequence[Scored], order: Sequence[str], profile: str) -> float:
    """Area under mean DSC against reviewed share (0 to 1, trapezoids); the organs of a reviewed case become the truth.

    Cases that a strategy leaves out come last, in their order.
    """
    before = {case.candidates[profile].volume: case.dsc for case in cases}
    rest = [volume for volume in before if volume not in set(order)]
    gains = np.array([sum(1 - dsc for dsc in before[volume]) for volume in [*order, *rest]])
    organs = sum(len(dsc) for dsc in before.values())
    start = sum(sum(dsc) for dsc in before.values())
    curve = (start + np.concatenate([[0], np.cumsum(gains)])) / organs
    return float(np.mean((curve[1:] + curve[:-1]) / 2))


def areas(cases: Sequence[Scored], profile: str) -> dict[str, float]:
    """The area of every strategy; "random" is the mean of many draws."""
    candidates = [case.candidates[profile] for case in cases]
    found = {}
    for name, order in ORDERS.items():
        draws = _DRAWS if name in ("random", "diversity") else 1
        found[name] = float(
            np.mean(
                [
                    area(cases, [c.volume for c in order(candidates, Setting(seed=str(draw)))], profile)
                    for draw in range(draws)
                ]
            )
        )
    return found


def gain_over_random(found: Mapping[str, float]) -> float:
    """The best strategy's area minus that of reviewing at random."""
    return max(found.values()) - found["random"]

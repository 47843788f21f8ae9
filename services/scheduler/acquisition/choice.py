"""Which volumes a round sends to people: the strategy's, and a control arm drawn by lot."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

from services.scheduler.acquisition.candidates import Candidate, Setting, Strategy
from services.scheduler.acquisition.orders import at_random
from services.scheduler.campaigns import Arm

_MISSES = 100


@dataclass(frozen=True)
class Budget:
    """What a round may spend. Cases of the control arm are not chosen by their minutes and may pass that bound."""

    cases: int
    minutes: float = math.inf


@dataclass(frozen=True)
class Chosen:
    """A volume that is sent to review, and which arm it is in."""

    candidate: Candidate
    arm: Arm


def cases_of(share: float, volumes: int) -> int:
    """`share` (0 to 1) of `volumes`, rounded up: at least one volume unless the share or their number is 0."""
    # The decimal that the user wrote counts: 0.07 * 100 is a little more than 7 in binary.
    return math.ceil(Fraction(repr(share)) * volumes)


@dataclass(frozen=True)
class Choice:
    """What becomes of a round's volumes."""

    queue: list[Chosen]
    """Those that are sent to review: the strategy's order, with the control arm's cases at places drawn by lot."""
    ranking: list[Candidate]
    """All: those that the strategy alone would take, most wanted first, and then the others by priority."""


def choose(
    candidates: Sequence[Candidate], strategy: Strategy, setting: Setting, budget: Budget, control_share: float
) -> Choice:
    """Both arms of a round.

    The control arm is drawn first, from all candidates with labelled foreground, so that it is a simple random sample
    of what the strategy may choose from; the strategy takes the rest of the budget from the rest of the candidates. Of
    n cases ceil(control_share n) are control, at least 1 and at most n - 1: a single case is the strategy's. A strategy
    that wants fewer than it may have gets a control arm in proportion, and one that wants none gets none: then there is
    nothing to compare, and an audit is what is left to do.

    A control case is sent whatever it takes, for those that fit would be a sample of short ones. Where they leave no
    minutes, the strategy still has the most wanted case that it would take alone.
    """
    wanted = _take(strategy(candidates, setting), budget)
    size = _control_cases(candidates, len(wanted), budget, control_share)
    control = list(islice(at_random(candidates, setting), size))
    picked: list[Candidate] = []
    while control and not picked:
        drawn = {c.volume for c in control}
        rest = strategy([c for c in candidates if c.volume not in drawn], setting)
        picked = _take(rest, _less(budget, control)) or [c for c in wanted if c.volume not in drawn][:1]
        if not picked:
            # The lot has fallen on all that the strategy wants.
            control.pop()
    return Choice(_mixed(picked or wanted, control, setting.seed), _ranked(candidates, wanted))


def _ranked(candidates: Sequence[Candidate], wanted: Sequence[Candidate]) -> list[Candidate]:
    named = {c.volume for c in wanted}
    rest = [c for c in candidates if c.volume not in named]
    return [*wanted, *sorted(rest, key=lambda c: (-c.priority, c.volume))]


def _control_cases(candidates: Sequence[Candidate], wanted: int, budget: Budget, share: float) -> int:
    """How many of the cases are control, if the strategy alone would take `wanted`."""
    if not wanted:
        return 0
    exact = Fraction(repr(share))
    cases = min(wanted + math.ceil(exact / (1 - exact) * wanted), budget.cases)
    if math.isfinite(budget.minutes):
        # By the mean, for what the lot draws; but a strategy that likes short cases may have two where it holds one.
        mean = sum(c.minutes for c in candidates) / len(candidates)
        cases = min(cases, max(int(budget.minutes / mean), min(wanted, 2)))
    return min(cases - 1, cases_of(share, cases))


def _less(budget: Budget, control: Sequence[Candidate]) -> Budget:
    return Budget(budget.cases - len(control), budget.minutes - sum(c.minutes for c in control))


def _take(order: Iterator[Candidate], budget: Budget) -> list[Candidate]:
    """The first ones that fit. A case that costs more minutes than are left is passed over for cheaper ones, until
    nothing has fitted for 100 candidates on end.
    """
    taken: list[Candidate] = []
    left, misses = budget.minutes, 0
    while len(taken) < budget.cases and misses < _MISSES:
        candidate = next(order, None)
        if candidate is None:
            break
        if candidate.minutes > left:
            misses += 1
            continue
        misses = 0
        left -= candidate.minutes
        taken.append(candidate)
    return taken


def _mixed(picked: Sequence[Candidate], control: Sequence[Candidate], seed: str) -> list[Chosen]:
    """Whoever reviews should not see from the place in the queue that a case was drawn by lot."""
    size = len(picked) + len(control)
    places = set(random.Random(f"{seed}/queue").sample(range(size), len(control)))
    rest, lots = iter(picked), iter(control)
    return [
        Chosen(next(lots), Arm.CONTROL) if place in places else Chosen(next(rest), Arm.STRATEGY)
        for place in range(size)
    ]

"""How a volume stands within its campaign, organ by organ: what is ordinary there does not call for a person.

Networks that are unsure of an organ are unsure of it in every case. What they expect to be wrong is therefore held
against the campaign's own distribution for that organ.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from services.scheduler.acquisition.candidates import Candidate, Setting

LEAST_CASES = 5
"""Fewer cases with doubts about an organ do not tell what is ordinary: then nothing is taken off."""


@dataclass(frozen=True)
class Norm:
    """What is expected to be wrong of one organ in the cases of a campaign that have doubts about it, in mm^3."""

    organ: str
    cases: int
    median_mm3: float
    high_mm3: float
    """The 90th percentile."""


def norms(candidates: Iterable[Candidate]) -> list[Norm]:
    """The norm of every organ that any case has doubts about, by name."""
    by_organ: dict[str, list[float]] = {}
    for candidate in candidates:
        for organ, expected_mm3 in candidate.organ_errors_mm3.items():
            by_organ.setdefault(organ, []).append(expected_mm3)
    return [_norm(organ, values) for organ, values in sorted(by_organ.items())]


def excess_mm3(candidate: Candidate, ordinary: Sequence[Norm]) -> float:
    """Sum over organs of what is expected to be wrong beyond the campaign's median."""
    medians = {norm.organ: norm.median_mm3 for norm in ordinary if norm.cases >= LEAST_CASES}
    return sum(max(0.0, mm3 - medians.get(organ, 0.0)) for organ, mm3 in candidate.organ_errors_mm3.items())


def by_excess(candidates: Sequence[Candidate], setting: Setting) -> Iterator[Candidate]:
    """What exceeds the campaign's median for its organs most, in mm^3; volumes that were reviewed count for the median.

    Those above 0, equal ones by volume id.
    """
    ordinary = norms([*candidates, *setting.reviewed])
    excess = {c.volume: excess_mm3(c, ordinary) for c in candidates}
    return iter(sorted((c for c in candidates if excess[c.volume] > 0), key=lambda c: (-excess[c.volume], c.volume)))


def _norm(organ: str, values: Sequence[float]) -> Norm:
    median, high = np.quantile(values, [0.5, 0.9])
    return Norm(organ, len(values), float(median), float(high))

"""What the rows say: means with intervals, and whether training on one dataset beats training on the other.

mDSC and mNSD of a case are the means over the organs that its truth has; mean and sd (ddof 1) go over cases.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from services.core.metrics.summary import Summary, summarise
from services.serving.benchmark.rows import Measured

Measure = Literal["dsc", "nsd"]
MEASURES: tuple[Measure, ...] = ("dsc", "nsd")
MEAN = "mean over organs"


@dataclass(frozen=True)
class Paired:
    """A network trained on b against itself trained on a, on the same cases of one test set.

    `difference` is that of b minus a; `p` is of Wilcoxon's signed-rank test (two-sided), `p_holm` corrected by Holm for
    all comparisons of its kind: those of means over organs are one family, those of single organs another.
    """

    network: str
    tested_on: str
    organ: str
    measure: Measure
    difference: Summary
    p: float
    p_holm: float


def by_case(rows: Iterable[Measured], measure: Measure, organ: str = MEAN) -> dict[str, float]:
    """The measure of every case, of one organ or the mean over organs."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if organ in (MEAN, row.organ):
            found.setdefault(row.case, []).append(getattr(row, measure))
    return {case: float(np.mean(values)) for case, values in found.items()}


def spread(rows: Iterable[Measured], measure: Measure, organ: str = MEAN) -> Summary:
    """Mean, sd and interval of the mean over cases."""
    return summarise(list(by_case(rows, measure, organ).values()), within=(0.0, 1.0))


def compared(rows: Sequence[Measured], a: str, b: str) -> list[Paired]:
    """All paired comparisons of training on `b` with training on `a`."""
    organs = list(dict.fromkeys(row.organ for row in rows))
    places = list(dict.fromkeys((row.network, row.tested_on) for row in rows))
    found: list[Paired] = []
    for family in ([MEAN], organs):
        pairs = [
            _pair(rows, network, tested_on, organ, measure, a, b)
            for network, tested_on in places
            for organ in family
            for measure in MEASURES
        ]
        known = [pair for pair in pairs if pair is not None]
        corrected = holm([pair.p for pair in known])
        found += [Paired(**{**vars(pair), "p_holm": p}) for pair, p in zip(known, corrected, strict=True)]
    return found


def _pair(
    rows: Sequence[Measured], network: str, tested_on: str, organ: str, measure: Measure, a: str, b: str
) -> Paired | None:
    def of(side: str) -> Mapping[str, float]:
        mine = (row for row in rows if (row.network, row.tested_on, row.trained_on) == (network, tested_on, side))
        return by_case(mine, measure, organ)

    first, second = of(a), of(b)
    differences = [second[case] - first[case] for case in sorted(first.keys() & second.keys())]
    if not differences:
        return None
    difference = summarise(differences, within=(-1.0, 1.0))
    return Paired(network, tested_on, organ, measure, difference, wilcoxon(differences), 1.0)


def wilcoxon(differences: Sequence[float]) -> float:
    """p of the signed-rank test, two-sided; 1 if nothing differs. With five cases it cannot be below 0.0625."""
    if not np.any(differences):
        return 1.0
    return float(stats.wilcoxon(differences).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): sorted, p_(i) becomes the largest of (m - j + 1) p_(j) for j up to i."""
    corrected = [1.0] * len(p)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = highest
    return corrected


def grouped(rows: Iterable[Measured], key: Callable[[Measured], str]) -> dict[str, list[Measured]]:
    """The rows by a key, in the order in which keys first come."""
    found: dict[str, list[Measured]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found

"""The gate: whether a new version of a model may take the place of the one that is served. Arrays in, table out."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from services.core.metrics.summary import students_interval

LEAST_MARGIN = 0.001
"""DSC. Smaller differences come of rounding weights to half precision: trainings allow them, whatever is asked for."""
FEW_CASES = 6
"""Below, a percentile bootstrap is far too narrow: two cases that lose 1e-6 each would be a certain loss. From here on
its narrowness refuses rather too much than too little, which is a gate's safe side."""
LARGE_LOSS = 0.05
"""DSC. A larger mean loss is refused whatever its interval: a few ruined cases make an interval wide, not certain. An
organ of DSC 0.9 that is lost in one of 18 cases costs as much. Chance seldom does: 3 of 1890 organs, in networks of
docs/experiment.md that the interval had let pass."""
Change = Literal["better", "same", "worse", "unmeasured"]


@dataclass(frozen=True)
class OrganChange:
    """One organ on the held-out cases that have it: mean DSC before and after, and the mean paired difference with its
    interval."""

    organ: str
    cases: int
    before: float | None
    after: float | None
    difference: float | None
    low: float | None
    high: float | None
    change: Change


@dataclass(frozen=True)
class Verdict:
    """The comparison of two versions. `reasons` say why the new one is not promoted; it is if there are none."""

    organs: tuple[OrganChange, ...]
    confidence: float
    margin: float
    reasons: tuple[str, ...]

    @property
    def promoted(self) -> bool:
        """Whether the new version may be served."""
        return not self.reasons

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"promoted": self.promoted, **asdict(self)}

    def markdown(self) -> str:
        """The table for people."""
        share = f"{self.confidence:.0%}"
        lines = [
            f"| organ | cases | DSC before | DSC after | difference | {share} interval | |",
            "|---|--:|--:|--:|--:|---|---|",
        ]
        for row in self.organs:
            if row.difference is None:
                lines.append(f"| {row.organ} | 0 | | | | | {row.change} |")
                continue
            lines.append(
                f"| {row.organ} | {row.cases} | {row.before:.4f} | {row.after:.4f} | {row.difference:+.4f} "
                f"| {row.low:+.4f} to {row.high:+.4f} | {row.change} |"
            )
        rule = (
            f"An organ regresses if it loses more than {_bound(self.margin):.4f} DSC in the mean, or if its whole "
            f"interval lies below minus {self.margin:.4f} DSC. Intervals are Student's t of fewer than {FEW_CASES} "
            "cases, of one case its difference, else a bootstrap over cases."
        )
        verdict = "Promoted." if self.promoted else f"Refused. {' '.join(self.reasons)}"
        return "\n".join([*lines, "", rule, "", verdict, ""])


def judge(
    organs: Sequence[str],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    *,
    tuned: Collection[str] = (),
    confidence: float = 0.95,
    margin: float = 0.0,
    resamples: int = 10_000,
    seed: int = 0,
) -> Verdict:
    """Compare DSC (case, organ) of the served version and the new one on the same held-out cases.

    An organ regresses if the whole interval of its mean paired difference lies below -`margin`: a percentile bootstrap
    over cases, Student's t if there are fewer than `FEW_CASES`; NaN is left out, and the interval of a single case is
    its difference. It also does if it loses more than `LARGE_LOSS` in the mean, or `margin` if that is more. Refused is
    a version of which an organ regresses, or of which an organ of `tuned` could not be measured at all.
    """
    if before.shape != after.shape or before.shape[1:] != (len(organs),):
        raise ValueError(f"{before.shape} and {after.shape} are not (case, {len(organs)})")
    rows = tuple(
        _compared(organ, before[:, column], after[:, column], confidence, margin, resamples, seed)
        for column, organ in enumerate(organs)
    )
    reasons = [_reason(row, margin) for row in rows if row.change == "worse"]
    reasons += [
        f"No held-out case has {row.organ}, which was tuned."
        for row in rows
        if row.change == "unmeasured" and row.organ in tuned
    ]
    return Verdict(rows, confidence, margin, tuple(reasons))


def _compared(
    organ: str,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    confidence: float,
    margin: float,
    resamples: int,
    seed: int,
) -> OrganChange:
    there = np.isfinite(before) & np.isfinite(after)
    if not there.any():
        return OrganChange(organ, 0, None, None, None, None, None, "unmeasured")
    differences = after[there] - before[there]
    mean = float(differences.mean())
    low, high = _interval(differences, confidence, resamples, seed)
    worse = high < -margin or mean < -_bound(margin)
    change: Change = "worse" if worse else "better" if low > 0 else "same"
    return OrganChange(
        organ, int(there.sum()), float(before[there].mean()), float(after[there].mean()), mean, low, high, change
    )


def _bound(margin: float) -> float:
    return max(LARGE_LOSS, margin)


def _reason(row: OrganChange, margin: float) -> str:
    lost = -(row.difference or 0)
    if row.high is not None and row.high < -margin:
        return f"{row.organ} regresses by {lost:.4f} DSC (held-out cases: {row.cases})."
    return (
        f"{row.organ} loses {lost:.4f} DSC in the mean, more than {_bound(margin):.4f} "
        f"(held-out cases: {row.cases}, too few to tell whether by chance)."
    )


def _interval(differences: NDArray[np.float64], confidence: float, resamples: int, seed: int) -> tuple[float, float]:
    mean = float(differences.mean())
    if np.ptp(differences) == 0:
        return mean, mean
    if differences.size < FEW_CASES:
        low, high = students_interval(differences, confidence)
        return max(low, -1.0), min(high, 1.0)
    interval = stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)

"""What many cases say together: mean, spread, median, and how sure the mean is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

CONFIDENCE = 0.95
FEW = 30
"""Below, a percentile bootstrap is too narrow: of normal values it misses the mean 49 times in 100 at two of them, 14
at six and 9 at twelve, where Student's t misses 5."""
_RESAMPLES = 2000
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Summary:
    """Of the finite values among some; `left_out` counts the others (NaN, or a distance to nothing).

    `sd` is that of a sample (ddof 1), NaN for less than two values. `low` and `high` bound the mean with 95 %
    confidence: Student's t of fewer than `FEW` values, else the percentile bootstrap over them; NaN for less than two.
    """

    count: int
    left_out: int
    mean: float
    sd: float
    median: float
    low: float
    high: float


def summarise(
    values: Sequence[float], *, within: tuple[float, float] = (-math.inf, math.inf), seed: int = 0
) -> Summary:
    """The summary of values; equal values and seeds give equal bounds, whatever the order of the values.

    `within` is the least and the largest value that there can be: no bound of the mean lies beyond.
    """
    given = np.array(values, np.float64)
    finite = np.sort(given[np.isfinite(given)])
    left_out = len(given) - len(finite)
    if not len(finite):
        return Summary(0, left_out, *[math.nan] * 5)
    mean, median = float(finite.mean()), float(np.median(finite))
    if len(finite) < 2:
        return Summary(1, left_out, mean, math.nan, median, math.nan, math.nan)
    if len(finite) < FEW:
        low, high = students_interval(finite, CONFIDENCE)
    else:
        low, high = np.quantile(_resampled_means(finite, seed), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    least, most = within
    bounds = max(float(low), least), min(float(high), most)
    return Summary(len(finite), left_out, mean, float(finite.std(ddof=1)), median, *bounds)


def students_interval(values: npt.NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Student's t interval of the mean of at least two values."""
    mean, count = float(values.mean()), len(values)
    half = float(stdtrit(count - 1, (1 + confidence) / 2) * values.std(ddof=1)) / math.sqrt(count)
    return mean - half, mean + half


def _resampled_means(values: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    at_once = max(1, _BLOCK // len(values))
    means = [
        values[rng.integers(len(values), size=(min(at_once, _RESAMPLES - done), len(values)))].mean(axis=1)
        for done in range(0, _RESAMPLES, at_once)
    ]
    return np.concatenate(means)

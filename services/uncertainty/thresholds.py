"""The reference's thresholds on float means and deviations, as exact tests of integers.

The inputs are uint8, so every quantity that is compared with a threshold is a whole number over a known denominator:
for N models with probabilities s / 255, sum S and sum of squares Q, and entropies floor(255 e) with sum E,

    std > 0.10           is   N Q - S^2 > (0.10 * 255 N)^2
    mean entropy > 0.05  is   E > 0.05 * 255 N
    mean > 0.5           is   S > 0.5 * 255 N

For three models that is N Q - S^2 >= 5853, E >= 39 and S >= 383. Where a right-hand side is whole, which takes an even
number of models, the two sides can be equal; the original computed in float64, and its rounding decided. There, and
only there, the same float64 arithmetic is done here (`services.uncertainty.signs`).
"""

from dataclasses import dataclass
from fractions import Fraction
from math import floor


@dataclass(frozen=True)
class Threshold:
    """Flagged from `least` on; at `tie`, the value just below it, float64 rounding decides; -1 if no tie can be."""

    least: int
    tie: int

    @property
    def lowest(self) -> int:
        """From which value on something may be flagged."""
        return self.least if self.tie < 0 else self.tie


def inconsistency(models: int) -> Threshold:
    """For `N Q - S^2`: the population standard deviation of the probabilities is above 0.10."""
    return _above((Fraction(1, 10) * 255 * models) ** 2)


def uncertainty(models: int) -> Threshold:
    """For `E`: the mean of the stored entropies over 255 is above 0.05."""
    return _above(Fraction(1, 20) * 255 * models)


def majority(models: int) -> Threshold:
    """For `S`: the mean probability is above one half."""
    return _above(Fraction(1, 2) * 255 * models)


def _above(limit: Fraction) -> Threshold:
    return Threshold(least=floor(limit) + 1, tie=int(limit) if limit.denominator == 1 else -1)

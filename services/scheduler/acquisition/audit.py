"""When a campaign may stop: an exact bound on the share of wrong cases among those that nobody had looked at before.

A sample of n cases, drawn by lot from the volumes that nobody has reviewed, holds x that a reviewer had to revise. With
confidence 1 - a their share among all of those volumes is at most the one-sided bound of Clopper and Pearson (1934):
the share p at which x or fewer in n have probability a. Drawing without putting back only makes it more careful. Of
those that were not drawn it says nothing by themselves: wrong ones that the sample missed are all among them.
"""

import math
from typing import Final

_STEPS: Final = 100


def upper_bound(errors: int, cases: int, confidence: float) -> float:
    """The largest share of wrong cases that is compatible with `errors` in `cases`, from 0 to 1.

    Solves  sum over k from 0 to errors of C(n, k) p^k (1 - p)^(n - k) = 1 - confidence.  With no error that is
    1 - (1 - confidence)^(1 / n); without cases, or if all are wrong, it is 1.
    """
    if cases == 0 or errors >= cases:
        return 1.0
    if errors == 0:
        return -math.expm1(math.log1p(-confidence) / cases)
    low, high = errors / cases, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(errors, cases, middle) > 1 - confidence else (low, middle)
    return high


def cases_needed(target: float, confidence: float, errors: int = 0) -> int:
    """The smallest sample that brings the bound down to `target` (above 0, below 1) with `errors` wrong cases in it.

    Without an error that is ceil(log(1 - confidence) / log(1 - target)): 59 for 5 % at 95 %.
    """
    fewest, enough = errors, errors + 1
    while upper_bound(errors, enough, confidence) > target:
        fewest, enough = enough, 2 * enough
    while enough - fewest > 1:
        middle = (fewest + enough) // 2
        fewest, enough = (middle, enough) if upper_bound(errors, middle, confidence) > target else (fewest, middle)
    return enough


def level(confidence: float, number: int) -> float:
    """The confidence that the `number`-th audit of a campaign (from 1) is held to: 1 - (1 - confidence) / 2^number.

    Whoever audits until an audit passes will pass one by luck. So the first audit may take a half of the risk, the next
    a quarter, then an eighth: together, however many there are, they risk at most 1 - confidence.
    """
    return 1.0 - (1.0 - confidence) / 2.0**number


def _at_most(errors: int, cases: int, share: float) -> float:
    """Probability of at most `errors` in `cases`; 0 < share < 1, or share = 1 with fewer errors than cases."""
    if share >= 1.0:
        return 0.0
    odds = math.log(share) - math.log1p(-share)
    term = cases * math.log1p(-share)
    total = math.exp(term)
    for k in range(1, errors + 1):
        term += odds + math.log(cases - k + 1) - math.log(k)
        total += math.exp(term)
    return min(total, 1.0)

"""Which volumes people should look at first, and how many of them.

Pure functions on what is known about the volumes of a round. A strategy takes candidates and returns them in the order
of need; `by_attention` is the reference's.
"""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

from services.scheduler.acquisition.candidates import Candidate


def by_attention(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Highest priority first; equal ones by volume name."""
    return sorted(candidates, key=lambda c: (-c.priority, c.volume))


def for_review(ranked: Sequence[Candidate], share: float) -> list[Candidate]:
    """The first `share` (0 to 1) of `ranked`, rounded up, without those that ask for no attention at all.

    So at least one volume is chosen unless `share` is 0 or no volume has a priority above 0.
    """
    # The decimal that the user wrote counts: 0.07 * 100 is a little more than 7 in binary.
    places = math.ceil(Fraction(repr(share)) * len(ranked))
    return [candidate for candidate in ranked[:places] if candidate.priority > 0]

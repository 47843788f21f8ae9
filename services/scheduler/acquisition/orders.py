"""Strategies that give every candidate a number and go from the largest to the smallest; equal ones by volume id."""

import hashlib
from collections.abc import Callable, Iterator, Sequence

from services.scheduler.acquisition.candidates import Candidate, Setting


def by_priority(candidates: Sequence[Candidate], setting: Setting) -> Iterator[Candidate]:
    """The profile's own sum; under "parity" the paper's, sum over organs of sum over voxels of A. Those above 0."""
    return _descending(candidates, lambda c: c.priority)


def by_volume(candidates: Sequence[Candidate], setting: Setting) -> Iterator[Candidate]:
    """Tissue that asks for attention in mm^3, so that thin slices do not count more than thick ones. Those above 0."""
    return _descending(candidates, lambda c: c.attention_mm3)


def by_error_per_minute(candidates: Sequence[Candidate], setting: Setting) -> Iterator[Candidate]:
    """Expected error in mm^3 / expected minutes of the review: what a reviewer's minute mends. Those above 0."""
    return _descending(candidates, lambda c: c.expected_error_mm3 / c.minutes)


def at_random(candidates: Sequence[Candidate], setting: Setting) -> Iterator[Candidate]:
    """By lot, among those with labelled foreground; the control arm."""
    return iter(by_lot([c for c in candidates if c.foreground_mm3 > 0], setting.seed))


def by_lot(candidates: Sequence[Candidate], seed: str) -> list[Candidate]:
    """All candidates in a random order, so that the first n are a simple random sample.

    The lot of a volume is SHA-256(seed/volume). It does not depend on the other candidates: a candidate more or less
    leaves the order of the rest as it was.
    """
    return sorted(candidates, key=lambda c: (hashlib.sha256(f"{seed}/{c.volume}".encode()).digest(), c.volume))


def _descending(candidates: Sequence[Candidate], need: Callable[[Candidate], float]) -> Iterator[Candidate]:
    return iter(sorted((c for c in candidates if need(c) > 0), key=lambda c: (-need(c), c.volume)))

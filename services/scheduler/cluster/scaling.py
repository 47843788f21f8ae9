"""How many pods a backlog needs: up at once, down only after the backlog has been smaller for a while."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """What the number of pods keeps to."""

    least: int
    """Fewest pods; 0 lets all of them go when nothing is to be done."""
    most: int
    """Most pods."""
    volumes_per_pod: int
    """How many volumes in the backlog justify one pod."""
    cooldown_seconds: float
    """How long fewer pods must have been enough before any goes."""


@dataclass(frozen=True)
class Look:
    """How many pods the backlog justified at a time (seconds on a clock that never goes back)."""

    time: float
    pods: int


def justified(backlog: int, bounds: Bounds) -> int:
    """ceil(backlog / volumes_per_pod), at least `least` and at most `most`."""
    return _kept(math.ceil(backlog / bounds.volumes_per_pod), bounds)


def recent(looks: Sequence[Look], now: float, bounds: Bounds) -> list[Look]:
    """The looks, oldest first, that still count at `now`: those within the cool-down, and the last one before it."""
    since = now - bounds.cooldown_seconds
    first = max((n for n, look in enumerate(looks) if look.time <= since), default=0)
    return list(looks[first:])


def wanted(current: int, looks: Sequence[Look], now: float, bounds: Bounds) -> int:
    """How many pods there should be: the most that any look within the cool-down justified.

    `looks` are the recent ones, the last of them made now. Where they do not reach back over the whole cool-down,
    nobody knows what was needed before, so none of the `current` pods goes but for those beyond `most`.
    """
    most = max(look.pods for look in looks)
    is_known = looks[0].time <= now - bounds.cooldown_seconds
    return _kept(most if is_known else max(most, current), bounds)


def _kept(pods: int, bounds: Bounds) -> int:
    return min(max(pods, bounds.least), bounds.most)

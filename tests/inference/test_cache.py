"""The cache of CTs on the network grid."""

import threading
import time

import numpy as np
import pytest

from services.inference.cache import GridCache, Volume


def volume(value: int = 0) -> Volume:
    return np.full((10, 10, 10), value, np.int16)


def test_the_last_used_stay_within_the_limit() -> None:
    """2000 bytes each: two fit into 4500."""
    cache = GridCache(4500)
    made: list[str] = []

    def get(key: str) -> None:
        def make() -> Volume:
            made.append(key)
            return volume()

        cache.get(key, make)

    for key in ("a", "b", "a", "c", "a", "b"):
        get(key)
    assert made == ["a", "b", "c", "b"]


def test_a_volume_above_the_limit_is_made_every_time() -> None:
    """And a limit of nothing keeps nothing."""
    cache = GridCache(0)
    assert cache.get("a", lambda: volume(1))[0, 0, 0] == 1
    assert cache.get("a", lambda: volume(2))[0, 0, 0] == 2


def test_nobody_can_change_what_is_kept() -> None:
    """The arrays are read-only."""
    with pytest.raises(ValueError, match="read-only"):
        GridCache(10_000).get("a", volume)[0] = 1


def test_callers_at_the_same_time_share_the_work() -> None:
    """Four models asked at once decode the CT once."""
    cache, made = GridCache(10_000), []

    def make() -> Volume:
        made.append(1)
        time.sleep(0.2)
        return volume()

    threads = [threading.Thread(target=cache.get, args=("a", make)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_a_failure_is_not_kept() -> None:
    """The next caller tries again."""
    cache = GridCache(10_000)
    with pytest.raises(OSError, match="storage"):
        cache.get("a", lambda: (_ for _ in ()).throw(OSError("storage")))
    assert cache.get("a", volume).shape == (10, 10, 10)

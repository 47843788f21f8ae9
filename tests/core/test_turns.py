"""Of identical work asked for at once, one is done."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.core.turns import Turns


def test_what_is_asked_for_twice_at_once_is_made_once() -> None:
    turns, made, results = Turns(), threading.Event(), []
    begun = threading.Barrier(3)

    def ask(_: int) -> None:
        begun.wait(10)
        with turns.of("key"):
            if not made.is_set():
                results.append("made")
                made.set()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(ask, range(3)))
    assert results == ["made"]


def test_other_keys_do_not_wait_and_a_failure_gives_the_turn_away() -> None:
    turns = Turns()
    with turns.of("one"), turns.of("other"):
        pass
    with pytest.raises(RuntimeError), turns.of("one"):
        raise RuntimeError
    with turns.of("one"):
        pass

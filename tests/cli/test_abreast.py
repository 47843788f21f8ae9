"""Work on many cases at once."""

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from services.cli.abreast import AT_ONCE, abreast


def test_results_come_in_order_and_items_when_their_turn_is_near() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with closing(abreast(lambda number: number * number, items())) as results:
        assert [next(results) for _ in range(3)] == [0, 1, 4]
        assert len(taken) <= 3 + AT_ONCE + 1
        assert list(results) == [n * n for n in range(3, 100)]


def test_an_error_ends_it_and_what_waits_is_not_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 3:
            raise ValueError(number)

    with pytest.raises(ValueError, match="3"):
        list(abreast(work, range(1000)))
    assert len(begun) <= 3 + 2 * (AT_ONCE + 1)


def test_closing_waits_for_what_is_at_work() -> None:
    """So that nobody writes into a folder that is being removed."""
    ended: list[int] = []

    def work(number: int) -> None:
        time.sleep(0.05 * number)
        ended.append(number)

    results = abreast(work, range(10))
    next(results)
    results.close()
    count = len(ended)
    time.sleep(0.3)
    assert len(ended) == count

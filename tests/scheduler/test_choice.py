"""Which volumes a round sends to people."""

import math
import random
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.acquisition import ORDERS, Candidate, Setting
from services.scheduler.acquisition.choice import Budget, cases_of, choose
from services.scheduler.campaigns import Arm

PRIORITY = ORDERS["priority"]
SETTING = Setting(seed="c/1")


def pool(*priorities: int, minutes: float = 15.0) -> list[Candidate]:
    return [
        Candidate(f"{n:03}", priority=p, organs_mm3={"liver": 1.0}, minutes=minutes) for n, p in enumerate(priorities)
    ]


@pytest.mark.parametrize(
    ("share", "volumes", "cases"),
    [
        (0.5, 0, 0),
        (0.0, 9, 0),
        (0.01, 1, 1),
        (0.05, 20, 1),
        (0.05, 21, 2),
        # 0.07 * 100 is 7.000000000000001 in binary, and yet it is seven volumes.
        (0.07, 100, 7),
        (1.0, 10, 10),
    ],
)
def test_a_share_is_rounded_up(share: float, volumes: int, cases: int) -> None:
    assert cases_of(share, volumes) == cases


@pytest.mark.parametrize(
    ("wanted", "unwanted", "cases", "share", "picked", "control"),
    [
        (100, 0, 0, 0.1, 0, 0),
        # A single case is the strategy's.
        (100, 0, 1, 0.1, 1, 0),
        (100, 0, 2, 0.1, 1, 1),
        (100, 0, 10, 0.1, 9, 1),
        (100, 0, 11, 0.1, 9, 2),
        (100, 0, 40, 0.25, 30, 10),
        (100, 0, 100, 0.1, 90, 10),
        # 9 are wanted where 40 could be sent: with its control arm of a tenth that is 10.
        (9, 1000, 40, 0.1, 9, 1),
        (0, 100, 40, 0.1, 0, 0),
        (0, 0, 40, 0.1, 0, 0),
    ],
)
def test_a_control_arm_takes_its_share_of_the_cases(
    wanted: int, unwanted: int, cases: int, share: float, picked: int, control: int
) -> None:
    candidates = pool(*range(wanted, 0, -1), *[0] * unwanted)
    chosen = choose(candidates, PRIORITY, SETTING, Budget(cases), share).queue
    arms = [one.arm for one in chosen]
    assert (arms.count(Arm.STRATEGY), arms.count(Arm.CONTROL)) == (picked, control)


def test_the_one_wanted_volume_is_reviewed_wherever_the_lot_falls() -> None:
    """If it falls on that volume, there is no control arm."""
    sizes = set()
    for n in range(40):
        chosen = choose(pool(1, 0), PRIORITY, Setting(f"c/{n}"), Budget(2), 0.5).queue
        assert [one.candidate.volume for one in chosen if one.arm == Arm.STRATEGY] == ["000"]
        sizes.add(len(chosen))
    assert sizes == {1, 2}


def test_the_strategy_takes_the_most_wanted_that_the_lot_left() -> None:
    chosen = choose(pool(*range(50, 0, -1)), PRIORITY, SETTING, Budget(10), 0.2).queue
    control = {one.candidate.volume for one in chosen if one.arm == Arm.CONTROL}
    order = [one.candidate.volume for one in chosen if one.arm == Arm.STRATEGY]
    assert order == [f"{n:03}" for n in range(50) if f"{n:03}" not in control][:8]


def test_the_place_in_the_queue_does_not_tell_the_arm() -> None:
    """Over 400 seeds the one control case of 4 stands at every place about equally often (100, sd 8.7)."""
    queues = [choose(pool(4, 3, 2, 1), PRIORITY, Setting(f"c/{n}"), Budget(4), 0.1).queue for n in range(400)]
    places = [[one.arm for one in queue].index(Arm.CONTROL) for queue in queues]
    for place in range(4):
        assert abs(places.count(place) - 100) < 4 * 8.7


def test_the_control_arm_is_drawn_from_all_that_could_be_chosen() -> None:
    """Over 400 seeds the control case of 4 is each volume about equally often, the most urgent one too."""
    drawn = []
    for n in range(400):
        chosen = choose(pool(4, 3, 2, 1), PRIORITY, Setting(f"c/{n}"), Budget(2), 0.5).queue
        drawn += [one.candidate.volume for one in chosen if one.arm == Arm.CONTROL]
    for volume in ("000", "001", "002", "003"):
        assert abs(drawn.count(volume) - 100) < 4 * 8.7


def test_a_volume_without_foreground_is_no_control() -> None:
    empty = [replace(c, organs_mm3={}) for c in pool(*range(20, 0, -1))]
    chosen = choose(empty, PRIORITY, SETTING, Budget(10), 0.5).queue
    assert [one.arm for one in chosen] == [Arm.STRATEGY] * 10


@pytest.mark.parametrize(
    ("minutes", "picked", "control"),
    [
        (14.9, 0, 0),
        (15, 1, 0),
        (30, 1, 1),
        (150, 9, 1),
        (164, 9, 1),
        (165, 9, 2),
        (math.inf, 90, 10),
    ],
)
def test_minutes_are_spent_as_they_are_expected_to_be(minutes: float, picked: int, control: int) -> None:
    """Cases of 15 minutes each."""
    chosen = choose(pool(*range(100, 0, -1)), PRIORITY, SETTING, Budget(100, minutes), 0.1).queue
    arms = [one.arm for one in chosen]
    assert (arms.count(Arm.STRATEGY), arms.count(Arm.CONTROL)) == (picked, control)


def test_what_costs_more_than_is_left_is_passed_over() -> None:
    candidates = [Candidate(name, priority=p, minutes=m) for name, p, m in [("a", 3, 60), ("b", 2, 20), ("c", 1, 10)]]
    chosen = choose(candidates, PRIORITY, SETTING, Budget(3, 35), 0.1).queue
    assert [one.candidate.volume for one in chosen] == ["b", "c"]


def test_minutes_for_short_cases_only_leave_a_control_arm_as_it_is_drawn() -> None:
    """The strategy likes short cases, of which the 30 minutes hold some; the lot draws long ones too."""
    lengths = random.Random(7).choices(range(5, 41), k=60)
    candidates = [
        Candidate(f"{n:03}", expected_error_mm3=100.0, organs_mm3={"liver": 1.0}, minutes=m)
        for n, m in enumerate(lengths)
    ]
    drawn = []
    for n in range(400):
        chosen = choose(candidates, ORDERS["error_per_minute"], Setting(f"c/{n}"), Budget(60, 30), 0.1).queue
        (control,) = [one.candidate for one in chosen if one.arm == Arm.CONTROL]
        assert len(chosen) > 1
        drawn.append(control.minutes)
    assert max(drawn) > 30
    error = statistics.stdev(lengths) / math.sqrt(len(drawn))
    assert abs(statistics.mean(drawn) - statistics.mean(lengths)) < 4 * error


def test_a_control_case_beyond_the_minutes_stands_beside_the_most_wanted_case_that_fits() -> None:
    candidates = [
        Candidate(f"{n:03}", priority=p, minutes=m, organs_mm3={"liver": 1.0} if m == 60 else {})
        for n, (p, m) in enumerate([(9, 40), (8, 20), (7, 5), (1, 60)])
    ]
    chosen = choose(candidates, PRIORITY, SETTING, Budget(4, 30), 0.1).queue
    assert {(one.candidate.volume, one.arm) for one in chosen} == {("001", Arm.STRATEGY), ("003", Arm.CONTROL)}


def test_two_wanted_volumes_keep_a_control_arm_wherever_the_lot_falls() -> None:
    """Two of four may be drawn; where they are the two that are wanted, one of them is."""
    for n in range(40):
        chosen = choose(pool(2, 1, 0, 0), PRIORITY, Setting(f"c/{n}"), Budget(4), 0.5).queue
        assert {one.arm for one in chosen} == {Arm.STRATEGY, Arm.CONTROL}


@pytest.mark.parametrize(
    ("cases", "order"),
    [
        # Of no case, of one and of three: by volume b c a; what is beyond comes by priority, a c b.
        (0, ["a", "c", "b"]),
        (1, ["b", "a", "c"]),
        (3, ["b", "c", "a"]),
    ],
)
def test_ranks_follow_the_strategy_and_then_the_priority(cases: int, order: list[str]) -> None:
    candidates = [
        Candidate(name, priority=p, attention_mm3=v) for name, p, v in [("a", 9, 1), ("b", 1, 9), ("c", 5, 5)]
    ]
    ranking = choose(candidates, ORDERS["volume"], SETTING, Budget(cases), 0.1).ranking
    assert [c.volume for c in ranking] == order


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(1, 120)), max_size=30),
    st.integers(0, 40),
    st.one_of(st.just(math.inf), st.floats(0, 500)),
    st.floats(0.01, 0.5),
)
def test_a_round_stays_within_its_budget_and_asks_for_every_volume_once(
    given: list[tuple[int, float]], cases: int, minutes: float, share: float
) -> None:
    candidates = [
        Candidate(f"{n:03}", priority=p, minutes=m, organs_mm3={"liver": 1.0}) for n, (p, m) in enumerate(given)
    ]
    chosen = choose(candidates, PRIORITY, SETTING, Budget(cases, minutes), share).queue
    volumes = [one.candidate.volume for one in chosen]
    assert len(set(volumes)) == len(volumes) <= cases
    picked = [one.candidate for one in chosen if one.arm == Arm.STRATEGY]
    assert sum(c.minutes for c in picked) <= minutes
    alone = choose([replace(c, organs_mm3={}) for c in candidates], PRIORITY, SETTING, Budget(cases, minutes), share)
    assert (len(picked) < len(chosen)) or len(alone.queue) < 2
    assert all(c.priority > 0 for c in picked)
    assert bool(picked) == bool(chosen)
    left = [c for c in candidates if c.volume not in volumes]
    if math.isinf(minutes):
        assert not picked or not left or min(c.priority for c in picked) >= max(c.priority for c in left)

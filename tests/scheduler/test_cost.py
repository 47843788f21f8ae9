"""What a review is expected to take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.acquisition.cost import CostModel, Work, learn

NOTHING = Work()


def test_without_reviews_a_case_takes_fifteen_minutes() -> None:
    assert learn([]).minutes(NOTHING) == 15
    assert learn([]).minutes(Work(organs=9, regions=50, attention_mm3=4e5)) == 15


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        # The prior weighs as much as 5 reviews: (5 * 15 + 5 * 25) / 10.
        ([25.0] * 5, 20.0),
        ([5.0] * 5, 10.0),
        ([25.0] * 45, 24.0),
        # Nobody looks at a case in no time: 0.01 counts as 1. (5 * 15 + 5 * 1) / 10.
        ([0.01] * 5, 8.0),
        # A desk that was left: 600 counts as 120, and beyond 10 minutes only linearly, as if it were a deviation of 10.
        # 24 * w + 5 * w = 10 with w the excess over 15: w = 0.345.
        ([15.0] * 24 + [600.0], 15.345),
    ],
)
def test_times_pull_the_prior_as_far_as_their_number_weighs(minutes: list[float], expected: float) -> None:
    assert learn([(NOTHING, taken) for taken in minutes]).minutes(NOTHING) == pytest.approx(expected, abs=5e-4)


def test_what_takes_the_time_is_learnt() -> None:
    """Cases of 5 minutes plus 2 for each organ."""
    cases = [Work(organs=1 + n % 9) for n in range(400)]
    model = learn([(case, 5.0 + 2.0 * case.organs) for case in cases])
    assert model.reviews == 400
    for organs in (1, 5, 9):
        assert model.minutes(Work(organs=organs)) == pytest.approx(5 + 2 * organs, abs=1)


def test_an_expectation_stays_within_what_a_review_can_take() -> None:
    assert CostModel((0, 0, 0, 100)).minutes(Work(attention_mm3=1e9)) == 120
    assert CostModel((-50, 0, 0, 0)).minutes(NOTHING) == 1


works = st.builds(Work, st.integers(0, 30), st.integers(0, 10_000), st.floats(0, 1e7))


@given(st.lists(st.tuples(works, st.floats(0, 1e5)), max_size=20), works)
def test_any_reviews_give_an_expectation(finished: list[tuple[Work, float]], case: Work) -> None:
    assert 1 <= learn(finished).minutes(case) <= 120

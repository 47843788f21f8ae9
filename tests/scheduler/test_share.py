import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.acquisition import Candidate, by_attention, for_review


def test_the_highest_priority_comes_first_and_names_break_ties() -> None:
    given = [Candidate("c", 5), Candidate("b", 9), Candidate("a", 5), Candidate("d", 0)]
    assert [candidate.volume for candidate in by_attention(given)] == ["b", "a", "c", "d"]


@pytest.mark.parametrize(
    ("priorities", "share", "expected"),
    [
        ([], 0.5, 0),
        ([9], 0.0, 0),
        ([9], 0.01, 1),
        ([9] * 20, 0.05, 1),
        ([9] * 21, 0.05, 2),
        # 0.07 * 100 is 7.000000000000001 in binary, and yet it is seven volumes.
        ([9] * 100, 0.07, 7),
        ([9] * 10, 1.0, 10),
        ([9, 9, 0, 0], 1.0, 2),
        ([0, 0, 0], 1.0, 0),
        ([9, 0, 0, 0], 0.5, 1),
        ([9, 9] + [0] * 8, 0.1, 1),
    ],
)
def test_the_share_is_rounded_up_and_takes_only_what_asks_for_attention(
    priorities: list[int], share: float, expected: int
) -> None:
    ranked = by_attention(Candidate(f"{i:03}", priority) for i, priority in enumerate(priorities))
    chosen = for_review(ranked, share)
    assert len(chosen) == expected
    assert chosen == ranked[:expected]


@given(st.lists(st.integers(0, 3), max_size=30), st.floats(0, 1))
def test_no_volume_left_out_is_more_urgent_than_one_chosen(priorities: list[int], share: float) -> None:
    ranked = by_attention(Candidate(f"{i:03}", priority) for i, priority in enumerate(priorities))
    chosen = for_review(ranked, share)
    assert all(c.priority > 0 for c in chosen)
    left = [c for c in ranked if c not in chosen]
    assert not chosen or not left or min(c.priority for c in chosen) >= max(c.priority for c in left)
    assert (share == 0 or not any(priorities)) == (not chosen)

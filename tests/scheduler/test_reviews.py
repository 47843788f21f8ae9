"""Leases: who may do what, and when."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.core.errors import AtlasError, Reason
from services.scheduler import reviews
from services.scheduler.reviews import SECOND, Decision, Desk, State

LEASE = 10 * SECOND
OPEN = Desk()
HELD = reviews.claim(OPEN, "ann", LEASE, now=0)
SUBMITTED = reviews.submit(HELD, 1, Decision.REVISED, "r1", now=1)
DONE = reviews.finish(SUBMITTED, "merged")
WITHDRAWN = reviews.withdraw(HELD)
LATE = LEASE

Action = Callable[[Desk, int], Desk]


def claim(who: str) -> Action:
    return lambda desk, now: reviews.claim(desk, who, LEASE, now)


def renew(token: int) -> Action:
    return lambda desk, now: reviews.renew(desk, token, LEASE, now)


def release(token: int) -> Action:
    return lambda desk, now: reviews.release(desk, token, now)


def submit(token: int, revision: str = "r1") -> Action:
    return lambda desk, now: reviews.submit(desk, token, Decision.REVISED, revision, now)


@pytest.mark.parametrize(
    ("before", "action", "now", "after"),
    [
        (OPEN, claim("ann"), 0, (State.CLAIMED, "ann", 1)),
        (HELD, claim("ann"), 5, (State.CLAIMED, "ann", 2)),
        (HELD, claim("bob"), LATE, (State.CLAIMED, "bob", 2)),
        (HELD, renew(1), LATE - 1, (State.CLAIMED, "ann", 1)),
        (HELD, release(1), 5, (State.OPEN, "", 1)),
        (reviews.release(HELD, 1, 5), release(1), 6, (State.OPEN, "", 1)),
        (reviews.release(HELD, 1, 5), claim("bob"), 6, (State.CLAIMED, "bob", 2)),
        (HELD, submit(1), LATE - 1, (State.SUBMITTED, "ann", 1)),
        (SUBMITTED, submit(1), 10 * LATE, (State.SUBMITTED, "ann", 1)),
        (DONE, submit(1), 10 * LATE, (State.DONE, "ann", 1)),
    ],
)
def test_what_is_allowed(before: Desk, action: Action, now: int, after: tuple[State, str, int]) -> None:
    desk = action(before, now)
    assert (desk.state, desk.reviewer, desk.token) == after


@pytest.mark.parametrize(
    ("before", "action", "now", "reason"),
    [
        (HELD, claim("bob"), LATE - 1, Reason.LEASE_HELD),
        (SUBMITTED, claim("bob"), 5, Reason.REVIEW_STATE),
        (DONE, claim("bob"), 5, Reason.REVIEW_STATE),
        (WITHDRAWN, claim("bob"), 5, Reason.REVIEW_STATE),
        (OPEN, renew(0), 0, Reason.LEASE_LOST),
        (HELD, renew(1), LATE, Reason.LEASE_LOST),
        (HELD, renew(2), 5, Reason.LEASE_LOST),
        (DONE, renew(1), 5, Reason.REVIEW_STATE),
        (OPEN, release(0), 0, Reason.LEASE_LOST),
        (HELD, release(0), 5, Reason.LEASE_LOST),
        (DONE, release(1), 5, Reason.REVIEW_STATE),
        (HELD, submit(1), LATE, Reason.LEASE_LOST),
        (HELD, submit(0), 5, Reason.LEASE_LOST),
        (reviews.claim(HELD, "ann", LEASE, 5), submit(1), 6, Reason.LEASE_LOST),
        (reviews.claim(HELD, "bob", LEASE, LATE), submit(1), LATE, Reason.LEASE_LOST),
        (WITHDRAWN, submit(1), 5, Reason.LEASE_LOST),
        (DONE, submit(1, "r2"), 5, Reason.REVIEW_STATE),
        (SUBMITTED, submit(1, "r2"), 5, Reason.REVIEW_STATE),
        (reviews.reopen(SUBMITTED), submit(1), 5, Reason.LEASE_LOST),
    ],
)
def test_what_is_refused(before: Desk, action: Action, now: int, reason: Reason) -> None:
    with pytest.raises(AtlasError) as refused:
        action(before, now)
    assert refused.value.reason == reason


def test_a_decision_that_cannot_be_merged_is_kept_at_the_side() -> None:
    again = reviews.reopen(SUBMITTED)
    assert again == Desk(token=1, side_versions=("r1",), active=1)
    assert reviews.reopen(DONE) == DONE


def test_what_is_decided_is_not_withdrawn() -> None:
    assert reviews.withdraw(SUBMITTED) == SUBMITTED
    assert Desk(state=State.WITHDRAWN, token=1) == WITHDRAWN


def test_side_versions_are_kept_once() -> None:
    assert reviews.keep(reviews.keep(OPEN, "r1"), "r1").side_versions == ("r1",)
    assert reviews.keep(OPEN, "") == OPEN


MINUTE, HOUR = reviews.MINUTE, 60 * reviews.MINUTE
DAY = reviews.MAX_LEASE


def held_for(lease: int) -> Desk:
    return reviews.claim(OPEN, "ann", lease, now=0)


@pytest.mark.parametrize(
    ("desk", "active"),
    [
        # Claimed and decided.
        (reviews.submit(held_for(HOUR), 1, Decision.ACCEPTED, "", 12 * MINUTE), 12 * MINUTE),
        (reviews.release(held_for(HOUR), 1, 12 * MINUTE), 12 * MINUTE),
        # 50 minutes to the renewal, 30 more to the decision.
        (
            reviews.submit(reviews.renew(held_for(HOUR), 1, HOUR, 50 * MINUTE), 1, Decision.ACCEPTED, "", 80 * MINUTE),
            80 * MINUTE,
        ),
        # Over night: an hour of it is taken for work.
        (reviews.submit(held_for(DAY), 1, Decision.ACCEPTED, "", 14 * HOUR), HOUR),
        # The lease ran out unseen; bob starts anew and takes 5 minutes.
        (
            reviews.submit(
                reviews.claim(held_for(HOUR), "bob", HOUR, 9 * HOUR), 2, Decision.ACCEPTED, "", 9 * HOUR + 5 * MINUTE
            ),
            5 * MINUTE,
        ),
        # It ran out 20 minutes after a renewal: what was before the renewal was work.
        (reviews.expire(reviews.renew(held_for(HOUR), 1, 20 * MINUTE, 10 * MINUTE), HOUR), 10 * MINUTE),
        # A second window: 10 minutes in the first, 5 in the second.
        (
            reviews.submit(
                reviews.claim(held_for(HOUR), "ann", HOUR, 10 * MINUTE), 2, Decision.ACCEPTED, "", 15 * MINUTE
            ),
            15 * MINUTE,
        ),
        # A clock that was set back takes nothing away.
        (reviews.submit(reviews.claim(OPEN, "ann", HOUR, HOUR), 1, Decision.ACCEPTED, "", HOUR - 1), 0),
    ],
)
def test_work_is_counted_from_sign_to_sign(desk: Desk, active: int) -> None:
    assert desk.active == active
    assert desk.seen is None


@pytest.mark.parametrize("lease", [0, SECOND - 1, 24 * 3600 * SECOND + 1, -SECOND])
def test_leases_have_bounds(lease: int) -> None:
    with pytest.raises(AtlasError, match="one second to one day"):
        reviews.require_lease(lease)


@given(st.integers(0, 10**18), st.integers(reviews.MIN_LEASE, reviews.MAX_LEASE))
def test_a_lease_holds_until_it_ends_and_not_a_microsecond_longer(now: int, lease: int) -> None:
    desk = reviews.claim(OPEN, "ann", lease, now)
    assert reviews.expire(desk, now + lease - 1) == desk
    assert reviews.expire(desk, now + lease) == replace(OPEN, token=1)


class Queue(RuleBasedStateMachine):
    """Reviewers who do anything at any time, with any token that they ever had."""

    def __init__(self) -> None:
        super().__init__()
        self.desk, self.now = Desk(), 0
        self.tokens: dict[str, set[int]] = {}

    @rule(seconds=st.integers(0, 15))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @rule(who=st.sampled_from(["ann", "bob"]))
    def claim(self, who: str) -> None:
        before = self.desk
        try:
            self.desk = reviews.claim(self.desk, who, LEASE, self.now)
        except AtlasError:
            return
        assert self.desk.token > before.token
        self.tokens.setdefault(who, set()).add(self.desk.token)

    @rule(who=st.sampled_from(["ann", "bob"]), data=st.data(), what=st.sampled_from([renew, release, submit]))
    def act(self, who: str, data: st.DataObject, what: Callable[[int], Action]) -> None:
        token = data.draw(st.sampled_from(sorted(self.tokens.get(who, {0}))))
        before = reviews.expire(self.desk, self.now)
        try:
            after = what(token)(self.desk, self.now)
        except AtlasError:
            return
        if after != before:
            assert (before.reviewer, before.token) == (who, token), "only the holder may act"
        assert after.token == before.token
        self.desk = after

    @invariant()
    def nobody_works_longer_than_time_goes_by(self) -> None:
        assert 0 <= self.desk.active <= self.now
        assert (self.desk.seen is not None) == (self.desk.state == State.CLAIMED)

    @invariant()
    def at_most_one_holds(self) -> None:
        seen = reviews.expire(self.desk, self.now)
        holders = [who for who, tokens in self.tokens.items() if seen.state == State.CLAIMED and seen.token in tokens]
        assert holders == ([seen.reviewer] if seen.state == State.CLAIMED else [])


TestQueue = Queue.TestCase

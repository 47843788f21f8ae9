"""The rules of a review and its lease, as pure functions on a frozen record; the clock is passed in.

A lease is held by whoever has the newest fencing token, and until it expires. A claim always gives a larger token, so
two holders can never both be believed. The same reviewer may claim again (a lost answer, a second window): the newer
token counts. Times are microseconds since 1970 UTC.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

from services.core.errors import AtlasError, Reason

SECOND = 1_000_000
MINUTE = 60 * SECOND
DEFAULT_LEASE = 3600 * SECOND
MIN_LEASE = SECOND
MAX_LEASE = 24 * 3600 * SECOND
LONGEST_SPAN = 3600 * SECOND
"""A holder who gave no sign for longer was elsewhere for the rest."""


class State(IntEnum):
    """Values of `scheduler.v1.Review.State`; a test holds the two together."""

    OPEN = 1
    CLAIMED = 2
    SUBMITTED = 3
    DONE = 4
    WITHDRAWN = 5


class Decision(IntEnum):
    """Values of `scheduler.v1.Review.Decision`; a test holds the two together."""

    NONE = 0
    ACCEPTED = 1
    REVISED = 2


@dataclass(frozen=True)
class Desk:
    """Who works on a review, and what came of it."""

    state: State = State.OPEN
    reviewer: str = ""
    token: int = 0
    """The newest fencing token; 0 before the first claim."""
    expires: int | None = None
    """When the lease ends, while claimed."""
    decision: Decision = Decision.NONE
    revision: str = ""
    result: str = ""
    side_versions: tuple[str, ...] = ()
    active: int = 0
    """Microseconds that all its holders together have worked on it, up to the last sign of the last one."""
    seen: int | None = None
    """When the holder claimed or renewed, while claimed."""


def require_lease(lease: int) -> int:
    """`lease` in microseconds if it is from one second to one day. Raises FIELD_INVALID."""
    if not MIN_LEASE <= lease <= MAX_LEASE:
        raise AtlasError(Reason.FIELD_INVALID, "A lease lasts from one second to one day.", field="lease")
    return lease


def expire(desk: Desk, now: int) -> Desk:
    """The review as it is at `now`: a lease that has ended leaves it open."""
    if desk.state == State.CLAIMED and desk.expires is not None and now >= desk.expires:
        return _opened(desk)
    return desk


def claim(desk: Desk, reviewer: str, lease: int, now: int) -> Desk:
    """`reviewer` takes the review for `lease`. Raises LEASE_HELD or REVIEW_STATE."""
    desk = expire(desk, now)
    if desk.state not in (State.OPEN, State.CLAIMED):
        raise _wrong_state(desk, "be claimed")
    if desk.state == State.CLAIMED and desk.reviewer != reviewer:
        raise AtlasError(
            Reason.LEASE_HELD,
            f"{desk.reviewer} holds this review for another {_seconds(desk, now)} s.",
            field="name",
            remedy="Claim another review, or wait.",
        )
    desk = _worked(desk, now)
    return replace(desk, state=State.CLAIMED, reviewer=reviewer, token=desk.token + 1, expires=now + lease)


def renew(desk: Desk, token: int, lease: int, now: int) -> Desk:
    """The holder keeps the review for `lease` from now. Raises LEASE_LOST or REVIEW_STATE."""
    desk = _held(desk, token, now, "be renewed")
    return replace(_worked(desk, now), expires=now + lease)


def release(desk: Desk, token: int, now: int) -> Desk:
    """The holder gives the review back; giving it back twice changes nothing. Raises LEASE_LOST or REVIEW_STATE."""
    if desk.token == token > 0 and desk.state == State.OPEN:
        return desk
    return _opened(_worked(_held(desk, token, now, "be released"), now))


def submit(desk: Desk, token: int, decision: Decision, revision: str, now: int) -> Desk:
    """The holder decides. Submitting the same again changes nothing. Raises LEASE_LOST or REVIEW_STATE."""
    if desk.token == token > 0 and desk.state in (State.SUBMITTED, State.DONE):
        if (desk.decision, desk.revision) == (decision, revision):
            return desk
        raise _wrong_state(desk, "be decided differently")
    desk = _worked(_held(desk, token, now, "be submitted"), now)
    return replace(desk, state=State.SUBMITTED, expires=None, seen=None, decision=decision, revision=revision)


def finish(desk: Desk, result: str) -> Desk:
    """The decision is merged into `result`."""
    return replace(desk, state=State.DONE, result=result) if desk.state == State.SUBMITTED else desk


def reopen(desk: Desk) -> Desk:
    """The decision could not be merged: somebody must look again, and the revision is kept at the side."""
    if desk.state != State.SUBMITTED:
        return desk
    return _opened(replace(keep(desk, desk.revision), decision=Decision.NONE, revision=""))


def withdraw(desk: Desk) -> Desk:
    """The campaign is cancelled. What was decided stays decided."""
    if desk.state not in (State.OPEN, State.CLAIMED):
        return desk
    return replace(_opened(desk), state=State.WITHDRAWN)


def keep(desk: Desk, revision: str) -> Desk:
    """Keep work that came under a lost lease."""
    if not revision or revision in desk.side_versions:
        return desk
    return replace(desk, side_versions=(*desk.side_versions, revision))


def _held(desk: Desk, token: int, now: int, what: str) -> Desk:
    """The review, if `token` proves a lease at `now`."""
    current = expire(desk, now)
    if token != current.token or token <= 0 or current.state in (State.OPEN, State.WITHDRAWN):
        raise AtlasError(
            Reason.LEASE_LOST,
            f"The lease is lost: {_why(desk, current, token)}.",
            field="fencing_token",
            remedy="Claim the review again and look at what has become of it.",
        )
    if current.state != State.CLAIMED:
        raise _wrong_state(current, what)
    return current


def _why(desk: Desk, current: Desk, token: int) -> str:
    if current.state == State.WITHDRAWN:
        return "the campaign was cancelled"
    if token != current.token:
        return f"its token is {token}, the newest is {current.token}"
    return "it expired" if desk.state == State.CLAIMED else "it expired or the review was given back"


def _worked(desk: Desk, now: int) -> Desk:
    """The review with the time since the holder's last sign counted as work; `now` is a sign too."""
    span = 0 if desk.seen is None else min(max(now - desk.seen, 0), LONGEST_SPAN)
    return replace(desk, active=desk.active + span, seen=now)


def _opened(desk: Desk) -> Desk:
    """Nobody's. Of a lease that ran out nobody knows for how much of it there was work: it counts as none."""
    return replace(desk, state=State.OPEN, reviewer="", expires=None, seen=None)


def _seconds(desk: Desk, now: int) -> int:
    return max(1, ((desk.expires or now) - now) // SECOND)


def _wrong_state(desk: Desk, what: str) -> AtlasError:
    return AtlasError(
        Reason.REVIEW_STATE,
        f"A review that is {desk.state.name} cannot {what}.",
        field="name",
        remedy="Read it again.",
    )

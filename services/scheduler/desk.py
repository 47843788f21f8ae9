"""The review queue in the database. `reviews` decides what a lease allows; here it is looked up, kept and told."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from services.core.errors import AtlasError, Reason
from services.scheduler import journal, reviews
from services.scheduler.campaigns import Kind
from services.scheduler.campaigns import State as CampaignState
from services.scheduler.reviews import Decision, Desk, State
from services.scheduler.tables import Campaign, Item, Review

_UNDONE = (State.OPEN, State.CLAIMED, State.SUBMITTED)


@dataclass(frozen=True)
class Key:
    """Which review."""

    campaign: str
    review: str

    @property
    def name(self) -> str:
        """Resource name."""
        return f"campaigns/{self.campaign}/reviews/{self.review}"


@dataclass(frozen=True)
class Submission:
    """A decision that is to be merged."""

    key: Key
    token: int


def open_review(session: Session, campaign: Campaign, item: Item, now: int) -> None:
    """Ask for a look at a ranked volume."""
    session.add(
        Review(
            campaign=campaign.id,
            id=f"r{campaign.round}-{item.rank}",
            volume=item.volume,
            round=campaign.round,
            rank=item.rank,
            priority=item.priority,
            attention_map=item.attention_map,
            label_version=item.label_version,
            organs=item.organs,
            predictions=item.predictions,
            state=State.OPEN,
            reviewer="",
            token=0,
            lease_expires=None,
            decision=Decision.NONE,
            revision="",
            result="",
            side_versions=[],
            queued=False,
            version=1,
            trace_id="",
            create_time=now,
            submit_time=None,
        )
    )


def find(session: Session, key: Key) -> Review:
    """The review. Raises RESOURCE_NOT_FOUND."""
    row = session.get(Review, (key.campaign, key.review), populate_existing=True)
    if row is None:
        raise AtlasError(Reason.RESOURCE_NOT_FOUND, f"There is no review {key.name!r}.", field="name")
    return row


def claim(session: Session, key: Key, reviewer: str, lease: int, now: int) -> Review:
    """Raises LEASE_HELD or REVIEW_STATE."""
    campaign, row = _locked(session, key, now)
    _keep(row, reviews.claim(_desk(row), reviewer, lease, now))
    _tell(session, campaign, row, Kind.REVIEW_CLAIMED, now, actor=reviewer)
    return row


def renew(session: Session, key: Key, token: int, lease: int, now: int) -> Review:
    """Raises LEASE_LOST or REVIEW_STATE."""
    _, row = _locked(session, key, now)
    _keep(row, reviews.renew(_desk(row), token, lease, now))
    return row


def release(session: Session, key: Key, token: int, now: int) -> Review:
    """Raises LEASE_LOST or REVIEW_STATE."""
    campaign, row = _locked(session, key, now)
    before = _desk(row)
    if _keep(row, reviews.release(before, token, now)):
        _tell(session, campaign, row, Kind.REVIEW_RELEASED, now, actor=before.reviewer)
    return row


def submit(
    session: Session, key: Key, token: int, decision: Decision, revision: str, now: int, trace_id: str
) -> Review | AtlasError:
    """Decide. The LEASE_LOST error is returned, not raised: the side version must be committed before it is told.

    Raises REVIEW_STATE.
    """
    campaign, row = _locked(session, key, now)
    before = _desk(row)
    try:
        after = reviews.submit(before, token, decision, revision, now)
    except AtlasError as error:
        if error.reason != Reason.LEASE_LOST:
            raise
        if _keep(row, reviews.keep(before, revision)):
            _tell(session, campaign, row, Kind.SIDE_VERSION_KEPT, now, resource=revision)
        return error
    if not _keep(row, after):
        return row
    row.submit_time, row.trace_id = now, trace_id
    message = decision.name.lower()
    _tell(session, campaign, row, Kind.REVIEW_SUBMITTED, now, actor=row.reviewer, message=message)
    if decision == Decision.ACCEPTED:
        # The labels stay as they are, so there is nothing to merge.
        _finish(session, campaign, row, row.label_version, now)
    return row


def merged(session: Session, submission: Submission, label_version: str, now: int) -> None:
    """The decision is in the labels. If it was the round's last, the round is done. May be repeated."""
    campaign = journal.lock(session, submission.key.campaign)
    row = find(session, submission.key)
    if row.state != State.SUBMITTED or row.token != submission.token:
        return
    item = session.get(Item, (row.campaign, row.volume))
    if item is not None:
        item.label_version = label_version
    journal.record(
        session, campaign, Kind.MERGED, now, volume=row.volume, resource=label_version, message=submission.key.name
    )
    _finish(session, campaign, row, label_version, now)


def unmergeable(session: Session, submission: Submission, error: str, now: int) -> None:
    """The decision cannot be merged: the review is open again and keeps the revision at its side. May be repeated."""
    campaign = journal.lock(session, submission.key.campaign)
    row = find(session, submission.key)
    if row.state != State.SUBMITTED or row.token != submission.token:
        return
    after = reviews.reopen(_desk(row))
    if campaign.state == CampaignState.CANCELLED:
        after = reviews.withdraw(after)
        campaign.open_review_count -= 1
    _keep(row, after)
    row.queued = False
    _tell(session, campaign, row, Kind.FAILED, now, message=error)


def sweep(session: Session, campaign: str, now: int) -> int:
    """Open again every review of `campaign` whose lease has ended; how many there were."""
    locked = journal.lock(session, campaign)
    rows = list(session.scalars(select(Review).where(Review.campaign == campaign, _ended(now))))
    for row in rows:
        _expire(session, locked, row, now)
    return len(rows)


def with_ended_leases(session: Session, now: int) -> list[str]:
    """Campaigns that `sweep` has something to do in."""
    return list(session.scalars(select(Review.campaign).where(_ended(now)).distinct()))


def withdraw(session: Session, campaign: Campaign) -> int:
    """Withdraw the open and claimed reviews of a locked campaign; how many there were."""
    rows = list(
        session.scalars(
            select(Review).where(Review.campaign == campaign.id, Review.state.in_((State.OPEN, State.CLAIMED)))
        )
    )
    for row in rows:
        _keep(row, reviews.withdraw(_desk(row)))
    return len(rows)


def to_queue(session: Session, limit: int) -> list[Submission]:
    """Decisions that the workflow engine does not know of yet, oldest first."""
    statement = select(Review).where(Review.state == State.SUBMITTED, Review.queued.is_(False))
    rows = session.scalars(statement.order_by(Review.submit_time).limit(limit))
    return [Submission(Key(row.campaign, row.id), row.token) for row in rows]


def queued(session: Session, submissions: Sequence[Submission]) -> None:
    """The workflow engine has these."""
    for submission in submissions:
        mine = (Review.campaign == submission.key.campaign) & (Review.id == submission.key.review)
        session.execute(update(Review).where(mine, Review.token == submission.token).values(queued=True))


def in_hand(session: Session) -> list[Submission]:
    """The decisions that the workflow engine should be merging."""
    rows = session.scalars(select(Review).where(Review.state == State.SUBMITTED, Review.queued.is_(True)))
    return [Submission(Key(row.campaign, row.id), row.token) for row in rows]


def revisions(session: Session, volume: str) -> list[str]:
    """Revisions of a volume that reviews of any campaign decided on, oldest first; side versions are not among them."""
    decided = Review.state.in_((State.SUBMITTED, State.DONE)) & (Review.decision == Decision.REVISED)
    statement = select(Review.revision).where(Review.volume == volume, decided)
    return list(dict.fromkeys(session.scalars(statement.order_by(Review.submit_time, Review.campaign))))


def merging(session: Session, campaign: str) -> bool:
    """Whether a decision in the campaign is still to be merged."""
    statement = select(Review.id).where(Review.campaign == campaign, Review.state == State.SUBMITTED).limit(1)
    return session.scalar(statement) is not None


def waiting(session: Session, now: int) -> tuple[int, int | None]:
    """How many reviews are free to claim, and since when the oldest of them waits."""
    free = or_(Review.state == State.OPEN, _ended(now))
    count, oldest = session.execute(select(func.count(), func.min(Review.create_time)).where(free)).one()
    return int(count), oldest


def page(
    session: Session, campaign: str, state: int, after: tuple[str, int, int] | None, limit: int, now: int
) -> list[Review]:
    """Reviews by campaign, round and rank, after the one that `after` names; campaign "" and state 0 mean all."""
    statement = select(Review)
    if campaign:
        statement = statement.where(Review.campaign == campaign)
    if state == State.OPEN:
        statement = statement.where(or_(Review.state == State.OPEN, _ended(now)))
    elif state == State.CLAIMED:
        statement = statement.where(Review.state == State.CLAIMED, Review.lease_expires > now)
    elif state:
        statement = statement.where(Review.state == state)
    if after is not None:
        name, number, rank = after
        later = (Review.round > number) | ((Review.round == number) & (Review.rank > rank))
        statement = statement.where(or_(Review.campaign > name, (Review.campaign == name) & later))
    return list(session.scalars(statement.order_by(Review.campaign, Review.round, Review.rank).limit(limit)))


def seen(row: Review, now: int) -> Desk:
    """The review as a reader should see it: a lease that has ended holds nobody up."""
    return reviews.expire(_desk(row), now)


def _locked(session: Session, key: Key, now: int) -> tuple[Campaign, Review]:
    campaign = journal.lock(session, key.campaign)
    row = find(session, key)
    _expire(session, campaign, row, now)
    return campaign, row


def _expire(session: Session, campaign: Campaign, row: Review, now: int) -> None:
    holder = row.reviewer
    if _keep(row, reviews.expire(_desk(row), now)):
        _tell(session, campaign, row, Kind.REVIEW_RELEASED, now, actor=holder, message="The lease expired.")


def _finish(session: Session, campaign: Campaign, row: Review, result: str, now: int) -> None:
    _keep(row, reviews.finish(_desk(row), result))
    campaign.open_review_count -= 1
    if campaign.open_review_count == 0 and campaign.state == CampaignState.IN_REVIEW:
        campaign.state = CampaignState.ROUND_DONE
        journal.record(session, campaign, Kind.ROUND_DONE, now, message="All reviews of the round are merged.")


def _tell(
    session: Session,
    campaign: Campaign,
    row: Review,
    kind: Kind,
    now: int,
    *,
    actor: str = "",
    resource: str = "",
    message: str = "",
) -> None:
    name = Key(row.campaign, row.id).name
    about = {"resource": resource or name, "message": message, "actor": actor}
    journal.record(session, campaign, kind, now, volume=row.volume, **about)


def _ended(now: int) -> ColumnElement[bool]:
    return (Review.state == State.CLAIMED) & (Review.lease_expires <= now)


def _desk(row: Review) -> Desk:
    return Desk(
        state=State(row.state),
        reviewer=row.reviewer,
        token=row.token,
        expires=row.lease_expires,
        decision=Decision(row.decision),
        revision=row.revision,
        result=row.result,
        side_versions=tuple(row.side_versions),
    )


def _keep(row: Review, desk: Desk) -> bool:
    """Write what has changed; whether anything has."""
    if desk == _desk(row):
        return False
    row.state, row.reviewer, row.token, row.lease_expires = desk.state, desk.reviewer, desk.token, desk.expires
    row.decision, row.revision, row.result = desk.decision, desk.revision, desk.result
    row.side_versions = list(desk.side_versions)
    row.version += 1
    return True

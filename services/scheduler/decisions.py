"""Reviewers' decisions on their way into the labels.

A merge may be told more than once, because a step that a crash cut off is run again; the second time changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from services.scheduler import desk, journal, reviews
from services.scheduler.campaigns import Kind
from services.scheduler.campaigns import State as CampaignState
from services.scheduler.desk import Key
from services.scheduler.reviews import Decision, State
from services.scheduler.tables import Campaign, Item, Review


@dataclass(frozen=True)
class Submission:
    """A decision that is to be merged."""

    key: Key
    token: int


def merged(session: Session, submission: Submission, label_version: str, revised_mm3: float | None, now: int) -> None:
    """The decision is in the labels. If it was the round's last, the round is done. May be repeated."""
    campaign = journal.lock(session, submission.key.campaign)
    row = desk.find(session, submission.key)
    if row.state != State.SUBMITTED or row.token != submission.token:
        return
    item = session.get(Item, (row.campaign, row.volume))
    if item is not None:
        item.label_version = label_version
    journal.record(
        session, campaign, Kind.MERGED, now, volume=row.volume, resource=label_version, message=submission.key.name
    )
    desk.finish(session, campaign, row, label_version, revised_mm3, now)


def unmergeable(session: Session, submission: Submission, error: str, now: int) -> None:
    """The decision cannot be merged: the review is open again and keeps the revision at its side. May be repeated."""
    campaign = journal.lock(session, submission.key.campaign)
    row = desk.find(session, submission.key)
    if row.state != State.SUBMITTED or row.token != submission.token:
        return
    after = reviews.reopen(desk.read(row))
    if campaign.state == CampaignState.CANCELLED:
        after = reviews.withdraw(after)
        campaign.open_review_count -= 1
    desk.keep(row, after)
    desk.tell(session, campaign, row, Kind.FAILED, now, message=error)


def to_queue(session: Session, limit: int) -> list[Submission]:
    """Decisions that the workflow engine does not know of yet, oldest first."""
    statement = select(Review).where(Review.state == State.SUBMITTED, Review.queued.is_(False))
    rows = session.scalars(statement.order_by(Review.submit_time).limit(limit))
    return [Submission(Key(row.campaign, row.id), row.token) for row in rows]


def queued(session: Session, submissions: Sequence[Submission], known: bool = True) -> None:
    """The workflow engine has these, or if not `known`, has not, and is to be told again."""
    for submission in submissions:
        mine = (Review.campaign == submission.key.campaign) & (Review.id == submission.key.review)
        session.execute(update(Review).where(mine, Review.token == submission.token).values(queued=known))


def in_hand(session: Session) -> list[Submission]:
    """The decisions that the workflow engine should be merging."""
    rows = session.scalars(select(Review).where(Review.state == State.SUBMITTED, Review.queued.is_(True)))
    return [Submission(Key(row.campaign, row.id), row.token) for row in rows]


def revisions(session: Session, volume: str, class_map: str | None = None) -> list[str]:
    """Revisions of a volume that reviews of any campaign decided on, the one that was decided on last at the end.

    Side versions are not among them; if `class_map` is given, neither are revisions that speak of another one.
    """
    decided = Review.state.in_((State.SUBMITTED, State.DONE)) & (Review.decision == Decision.REVISED)
    statement = select(Review.revision).where(Review.volume == volume, decided)
    if class_map is not None:
        statement = statement.join(Campaign, Campaign.id == Review.campaign).where(Campaign.class_map == class_map)
    newest_first = statement.order_by(Review.submit_time.desc(), Review.campaign.desc())
    return list(dict.fromkeys(session.scalars(newest_first)))[::-1]


def merging(session: Session, campaign: str) -> bool:
    """Whether a decision in the campaign is still to be merged."""
    statement = select(Review.id).where(Review.campaign == campaign, Review.state == State.SUBMITTED).limit(1)
    return session.scalar(statement) is not None

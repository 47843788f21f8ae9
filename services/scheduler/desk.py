"""The review queue in the database. `reviews` decides what a lease allows; here it is looked up, kept and told."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from services.core.errors import AtlasError, Reason
from services.scheduler import audits, journal, reviews
from services.scheduler.acquisition.choice import Chosen
from services.scheduler.campaigns import Kind
from services.scheduler.campaigns import State as CampaignState
from services.scheduler.reviews import Decision, Desk, State
from services.scheduler.tables import Campaign, Item, Review


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
class Revision:
    """A label version that a reviewer made, and who that was; both "" if there is none."""

    name: str = ""
    author: str = ""


def open_review(session: Session, campaign: Campaign, chosen: Chosen, place: int, now: int, *, audit: int = 0) -> None:
    """Ask for a look at a volume, at a place in the queue of the campaign's round."""
    item = session.get_one(Item, (campaign.id, chosen.candidate.volume))
    session.add(
        Review(
            campaign=campaign.id,
            id=f"r{campaign.round}-{place}",
            volume=item.volume,
            round=campaign.round,
            rank=place,
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
            arm=chosen.arm,
            audit=audit,
            active_time=0,
            seen_time=None,
            facts=item.facts,
            expected_minutes=chosen.candidate.minutes,
            revised_mm3=None,
        )
    )


def find(session: Session, key: Key) -> Review:
    """The review. Raises RESOURCE_NOT_FOUND."""
    row = session.get(Review, (key.campaign, key.review), populate_existing=True)
    if row is None:
        raise AtlasError(
            Reason.RESOURCE_NOT_FOUND,
            f"There is no review {key.name!r}.",
            field="name",
            remedy="List the campaign's reviews to see which there are.",
        )
    return row


def claim(session: Session, key: Key, reviewer: str, lease: int, now: int) -> Review:
    """`reviewer` takes the review. Raises LEASE_HELD or REVIEW_STATE."""
    campaign, row = _locked(session, key, now)
    keep(row, reviews.claim(read(row), reviewer, lease, now))
    tell(session, campaign, row, Kind.REVIEW_CLAIMED, now, actor=reviewer)
    return row


def renew(session: Session, key: Key, token: int, lease: int, now: int) -> Review:
    """The holder keeps the review. Raises LEASE_LOST or REVIEW_STATE."""
    _, row = _locked(session, key, now)
    keep(row, reviews.renew(read(row), token, lease, now))
    return row


def release(session: Session, key: Key, token: int, now: int) -> Review:
    """The holder gives the review back. Raises LEASE_LOST or REVIEW_STATE."""
    campaign, row = _locked(session, key, now)
    before = read(row)
    if keep(row, reviews.release(before, token, now)):
        tell(session, campaign, row, Kind.REVIEW_RELEASED, now, actor=before.reviewer)
    return row


def submit(
    session: Session, key: Key, token: int, decision: Decision, revision: Revision, now: int, trace_id: str
) -> Review | AtlasError:
    """The holder decides. Raises REVIEW_STATE.

    LEASE_LOST is returned and not raised: the side version must be committed before the caller is told of it.
    """
    campaign, row = _locked(session, key, now)
    before = read(row)
    try:
        after = reviews.submit(before, token, decision, revision.name, now)
    except AtlasError as error:
        if error.reason != Reason.LEASE_LOST:
            raise
        if keep(row, reviews.keep(before, revision.name)):
            about = {"resource": revision.name, "actor": revision.author}
            tell(session, campaign, row, Kind.SIDE_VERSION_KEPT, now, **about)
        return error
    if not keep(row, after):
        return row
    row.submit_time, row.trace_id, row.queued = now, trace_id, False
    message = decision.name.lower()
    tell(session, campaign, row, Kind.REVIEW_SUBMITTED, now, actor=row.reviewer, message=message)
    if decision == Decision.ACCEPTED:
        # The labels stay as they are, so there is nothing to merge.
        finish(session, campaign, row, row.label_version, 0.0, now)
    return row


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
        keep(row, reviews.withdraw(read(row)))
    return len(rows)


def waiting(session: Session, now: int) -> tuple[int, int | None]:
    """How many reviews are free to claim, and since when the oldest of them waits."""
    free = or_(Review.state == State.OPEN, _ended(now))
    count, oldest = session.execute(select(func.count(), func.min(Review.create_time)).where(free)).one()
    return int(count), oldest


def census(session: Session) -> dict[State, int]:
    """How many reviews of all campaigns are in which state; one whose lease ran out is claimed until a sweep."""
    rows = session.execute(select(Review.state, func.count()).group_by(Review.state))
    return dict.fromkeys(State, 0) | {State(state): count for state, count in rows}


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
    return reviews.expire(read(row), now)


def _locked(session: Session, key: Key, now: int) -> tuple[Campaign, Review]:
    campaign = journal.lock(session, key.campaign)
    row = find(session, key)
    _expire(session, campaign, row, now)
    return campaign, row


def _expire(session: Session, campaign: Campaign, row: Review, now: int) -> None:
    holder = row.reviewer
    if keep(row, reviews.expire(read(row), now)):
        tell(session, campaign, row, Kind.REVIEW_RELEASED, now, actor=holder, message="The lease expired.")


def finish(session: Session, campaign: Campaign, row: Review, result: str, revised_mm3: float | None, now: int) -> None:
    """The decision is in the labels; with the last one the round or the audit of a locked campaign is done."""
    keep(row, reviews.finish(read(row), result))
    row.revised_mm3 = revised_mm3
    campaign.open_review_count -= 1
    if campaign.open_review_count or campaign.state != CampaignState.IN_REVIEW:
        return
    if not audits.settle(session, campaign, now):
        campaign.state = CampaignState.ROUND_DONE
        journal.record(session, campaign, Kind.ROUND_DONE, now, message="All reviews of the round are merged.")


def tell(
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
    """Append an event about a review to a locked campaign; `resource` is the review itself if not given."""
    name = Key(row.campaign, row.id).name
    about = {"resource": resource or name, "message": message, "actor": actor}
    journal.record(session, campaign, kind, now, volume=row.volume, **about)


def _ended(now: int) -> ColumnElement[bool]:
    return (Review.state == State.CLAIMED) & (Review.lease_expires <= now)


def read(row: Review) -> Desk:
    """The row as the rules see it."""
    return Desk(
        state=State(row.state),
        reviewer=row.reviewer,
        token=row.token,
        expires=row.lease_expires,
        decision=Decision(row.decision),
        revision=row.revision,
        result=row.result,
        side_versions=tuple(row.side_versions),
        active=row.active_time,
        seen=row.seen_time,
    )


def keep(row: Review, desk: Desk) -> bool:
    """Write what has changed; whether anything has."""
    if desk == read(row):
        return False
    row.state, row.reviewer, row.token, row.lease_expires = desk.state, desk.reviewer, desk.token, desk.expires
    row.decision, row.revision, row.result = desk.decision, desk.revision, desk.result
    row.side_versions = list(desk.side_versions)
    row.active_time, row.seen_time = desk.active, desk.seen
    row.version += 1
    return True

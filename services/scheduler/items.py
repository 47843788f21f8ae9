"""What becomes of the volumes of a campaign, in the database.

The work on one volume may be told more than once, because a step that a crash cut off is run again. Every function here
may therefore be repeated, and changes nothing once the round has moved on or the campaign was cancelled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from services.scheduler import journal, ranking
from services.scheduler.campaigns import UNDONE, ItemState, Kind, State
from services.scheduler.tables import Campaign, Item


@dataclass(frozen=True, order=True)
class Work:
    """One volume in one round of one campaign."""

    campaign: str
    round: int
    volume: str


@dataclass(frozen=True)
class Outcome:
    """What was made of a volume in a round."""

    predictions: list[str]
    attention_map: str
    """Empty if no organ was left to score."""
    priority: int
    organs: list[str]
    label_version: str
    source_organs: list[str]
    facts: dict[str, Any]
    """See `facts`."""


def begin(session: Session, work: Work, now: int) -> Campaign | None:
    """Take the volume in hand. None if there is nothing to do any more."""
    current = _current(session, work)
    if current is None:
        return None
    campaign, item = current
    if item.state == ItemState.PENDING:
        item.state = ItemState.RUNNING
        campaign.version += 1
        campaign.update_time = now
    return campaign


def tell(session: Session, work: Work, kind: Kind, resource: str, now: int, *, message: str = "") -> bool:
    """Tell of a resource that came to be. False if there is nothing to do any more."""
    current = _current(session, work)
    if current is None:
        return False
    _record(session, current[0], work, kind, now, resource=resource, message=message)
    return True


def ready(session: Session, work: Work, outcome: Outcome, now: int) -> None:
    """The volume's labels are ready. If it was the last one, the round is ranked."""
    current = _current(session, work)
    if current is None:
        return
    campaign, item = current
    item.state, item.error = ItemState.READY, ""
    item.predictions, item.attention_map = outcome.predictions, outcome.attention_map
    item.priority, item.organs = outcome.priority, outcome.organs
    item.label_version, item.source_organs = outcome.label_version, outcome.source_organs
    item.facts = outcome.facts
    campaign.ready_count += 1
    _record(session, campaign, work, Kind.MERGED, now, resource=outcome.label_version)
    ranking.close_if_complete(session, campaign, now)


def failed(session: Session, work: Work, error: str, now: int) -> None:
    """The volume failed in this round; the others go on. If it was the last one, the round is ranked."""
    current = _current(session, work)
    if current is None:
        return
    campaign, item = current
    item.state, item.error = ItemState.FAILED, error
    campaign.failed_count += 1
    _record(session, campaign, work, Kind.FAILED, now, message=error)
    ranking.close_if_complete(session, campaign, now)


def to_queue(session: Session, room: int) -> list[Work]:
    """The next volumes for the workflow engine, most urgent and then oldest first, so that `room` are in its hands."""
    mine = Item.state.in_(UNDONE) & Item.queued.is_(True)
    room -= session.scalar(select(func.count()).select_from(Item).where(mine)) or 0
    if room <= 0:
        return []
    waiting = select(Item.campaign, Item.round, Item.volume).where(
        Item.state == ItemState.PENDING, Item.queued.is_(False)
    )
    ordered = waiting.order_by(Item.priority.desc(), Item.age, Item.campaign, Item.volume).limit(room)
    return [Work(*row) for row in session.execute(ordered)]


def queued(session: Session, works: Sequence[Work]) -> None:
    """The workflow engine has these."""
    for work in works:
        mine = (Item.campaign == work.campaign) & (Item.round == work.round) & (Item.volume == work.volume)
        session.execute(update(Item).where(mine).values(queued=True))


def put_back(session: Session, work: Work, now: int) -> None:
    """The workflow engine does not have this one after all: it is to be told again. May be repeated."""
    current = _current(session, work)
    if current is None:
        return
    campaign, item = current
    item.state, item.queued = ItemState.PENDING, False
    campaign.version += 1
    campaign.update_time = now


def in_hand(session: Session) -> list[Work]:
    """The volumes that the workflow engine should be working on."""
    statement = select(Item.campaign, Item.round, Item.volume).where(Item.state.in_(UNDONE), Item.queued.is_(True))
    return [Work(*row) for row in session.execute(statement)]


def census(session: Session) -> dict[ItemState, int]:
    """How many volumes of all campaigns are in which state."""
    rows = session.execute(select(Item.state, func.count()).group_by(Item.state))
    return dict.fromkeys(ItemState, 0) | {ItemState(state): count for state, count in rows}


def page(session: Session, campaign: str, after: tuple[int, str] | None, limit: int) -> list[Item]:
    """Items by rank, unranked ones last by name, after the one that `after` (rank, volume) names."""
    statement = select(Item).where(Item.campaign == campaign)
    if after is not None:
        rank, volume = after
        same = (Item.rank == rank) & (Item.volume > volume)
        beyond = (Item.rank > rank) | (Item.rank == 0) if rank else None
        statement = statement.where(same if beyond is None else or_(same, beyond))
    return list(session.scalars(statement.order_by(Item.rank == 0, Item.rank, Item.volume).limit(limit)))


def _current(session: Session, work: Work) -> tuple[Campaign, Item] | None:
    """The locked campaign and the item, if this work is still wanted."""
    campaign = journal.lock(session, work.campaign)
    item = session.get(Item, (work.campaign, work.volume), populate_existing=True)
    if item is None or campaign.state != State.RUNNING or campaign.round != work.round or item.state not in UNDONE:
        return None
    return campaign, item


def _record(
    session: Session, campaign: Campaign, work: Work, kind: Kind, now: int, *, resource: str = "", message: str = ""
) -> None:
    journal.record(
        session,
        campaign,
        kind,
        now,
        volume=work.volume,
        resource=resource,
        message=message,
        once=f"{work.round}/{work.volume}/{kind.name}/{resource.rpartition('/')[2]}",
    )

"""Every change of a campaign: one lock, one version, one gap-free history."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core.errors import AtlasError, Reason
from services.scheduler.campaigns import Kind
from services.scheduler.tables import Campaign, Event


def find(session: Session, campaign: str) -> Campaign:
    """The campaign, unlocked. Raises RESOURCE_NOT_FOUND."""
    row = session.get(Campaign, campaign)
    if row is None:
        raise _missing(campaign)
    return row


def lock(session: Session, campaign: str) -> Campaign:
    """The campaign, which nobody else changes before this transaction ends. Raises RESOURCE_NOT_FOUND."""
    statement = select(Campaign).where(Campaign.id == campaign).with_for_update()
    row = session.scalars(statement.execution_options(populate_existing=True)).one_or_none()
    if row is None:
        raise _missing(campaign)
    return row


def record(
    session: Session,
    campaign: Campaign,
    kind: Kind,
    now: int,
    *,
    volume: str = "",
    resource: str = "",
    message: str = "",
    actor: str = "",
    once: str | None = None,
) -> None:
    """Append an event to a locked campaign. An event with a `once` that is already there is not told again."""
    if once is not None and _told(session, campaign.id, once):
        return
    campaign.last_sequence += 1
    campaign.version += 1
    campaign.update_time = now
    session.add(
        Event(
            campaign=campaign.id,
            sequence=campaign.last_sequence,
            kind=kind,
            time=now,
            round=campaign.round,
            volume=volume,
            resource=resource,
            message=message,
            actor=actor,
            once=once,
        )
    )
    session.flush()


def after(session: Session, campaign: str, sequence: int, limit: int) -> list[Event]:
    """The next events after `sequence`."""
    statement = select(Event).where(Event.campaign == campaign, Event.sequence > sequence)
    return list(session.scalars(statement.order_by(Event.sequence).limit(limit)))


def _told(session: Session, campaign: str, once: str) -> bool:
    statement = select(Event.sequence).where(Event.campaign == campaign, Event.once == once)
    return session.scalar(statement) is not None


def _missing(campaign: str) -> AtlasError:
    return AtlasError(
        Reason.RESOURCE_NOT_FOUND,
        f"There is no campaign {campaign!r}.",
        field="name",
        remedy="List the campaigns to see which there are.",
    )

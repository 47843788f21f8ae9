"""Campaigns and their rounds in the database: create, start, cancel.

Every function that takes a `Session` works inside the caller's transaction and locks the campaign.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, func, insert, or_, select, update
from sqlalchemy.orm import Session

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.core.texts import amount
from services.scheduler import campaigns, demand, desk, ensembles, fusing, journal, pool
from services.scheduler.campaigns import UNDONE, ItemState, Kind, State
from services.scheduler.ensembles import Ensemble
from services.scheduler.tables import Campaign, Item

CANCELLED_ERROR = "CAMPAIGN_STATE: The campaign was cancelled before this volume was done."


@dataclass(frozen=True)
class Acquisition:
    """Who is reviewed, how much of it there may be, and when it may stop; see `scheduler.v1.Campaign`."""

    review_share: float = campaigns.DEFAULT_SHARE
    strategy: int = pb.Campaign.STRATEGY_PRIORITY
    control_share: float = campaigns.DEFAULT_CONTROL_SHARE
    budget_cases: int | None = None
    budget_minutes: float | None = None
    target_error_share: float = campaigns.DEFAULT_TARGET
    audit_confidence: float = campaigns.DEFAULT_CONFIDENCE
    tolerance: float = 0.0


@dataclass(frozen=True)
class Plan:
    """What CreateCampaign asks for, checked."""

    campaign: str
    volumes: tuple[str, ...]
    ensemble: Ensemble
    profile: str
    acquisition: Acquisition
    request_id: str
    fingerprint: str
    trace_id: str
    actor: str = ""
    merge_policy: dict[str, Any] = field(default_factory=dict)
    """Protobuf JSON; empty means the defaults."""
    asked_policy: dict[str, Any] = field(default_factory=dict)
    """See `tables.Campaign`."""


def earlier(session: Session, campaign: str, request_id: str, fingerprint: str) -> Campaign | None:
    """The campaign that the same request created before. Raises REQUEST_ID_REUSED or RESOURCE_CONFLICT."""
    if request_id:
        known = session.scalar(select(Campaign).where(Campaign.request_id == request_id))
        if known is not None and known.fingerprint != fingerprint:
            raise AtlasError(
                Reason.REQUEST_ID_REUSED,
                f"This request id created campaigns/{known.id} from a different request.",
                field="request_id",
                remedy="Use a new request id for every new campaign.",
            )
        if known is not None:
            return known
    if session.get(Campaign, campaign) is not None:
        raise AtlasError(
            Reason.RESOURCE_CONFLICT,
            f"There is a campaign {campaign!r} already.",
            field="campaign_id",
            remedy="Choose another id.",
        )
    return None


def create(session: Session, plan: Plan, now: int) -> Campaign:
    """Create the campaign with its first round; the same request again gives the same campaign."""
    known = earlier(session, plan.campaign, plan.request_id, plan.fingerprint)
    if known is not None:
        return known
    campaign = Campaign(
        id=plan.campaign,
        state=State.RUNNING,
        round=1,
        models=list(plan.ensemble.models),
        organs=list(plan.ensemble.organs),
        spacing_mm=plan.ensemble.spacing_mm,
        class_map=plan.ensemble.class_map,
        profile=plan.profile,
        **asdict(plan.acquisition),
        merge_policy=plan.merge_policy,
        asked_policy=plan.asked_policy,
        audit_count=0,
        volume_count=len(plan.volumes),
        ready_count=0,
        failed_count=0,
        open_review_count=0,
        version=1,
        last_sequence=0,
        request_id=plan.request_id or None,
        fingerprint=plan.fingerprint,
        trace_id=plan.trace_id,
        create_time=now,
        update_time=now,
    )
    session.add(campaign)
    session.flush()
    blank = {
        "campaign": plan.campaign,
        "state": ItemState.PENDING,
        "round": 1,
        "queued": False,
        "age": now,
        "predictions": [],
        "attention_map": "",
        "label_version": "",
        "source_organs": [],
        "organs": [],
        "priority": 0,
        "rank": 0,
        "error": "",
        "facts": {},
    }
    session.execute(insert(Item), [blank | {"volume": volume} for volume in plan.volumes])
    message = f"Round 1 over {amount(len(plan.volumes), 'volume')}."
    journal.record(session, campaign, Kind.ROUND_STARTED, now, message=message, actor=plan.actor)
    demand.met(session)
    return campaign


def due(session: Session, campaign: Campaign, number: int, etag: str) -> int:
    """How many volumes round `number`, or with 0 whichever is next, would work on; 0 if it was started before.

    Raises CAMPAIGN_STATE, also when every volume has been reviewed, FIELD_INVALID and ETAG_MISMATCH.
    """
    if number and campaigns.is_started(number, campaign.round):
        return 0
    campaigns.require_etag(etag, str(campaign.version))
    campaigns.require_startable(State(campaign.state), f"campaigns/{campaign.id}")
    again = session.scalar(select(func.count()).select_from(Item).where(*_unreviewed(campaign))) or 0
    if not again:
        raise AtlasError(
            Reason.CAMPAIGN_STATE,
            f"Every volume of campaigns/{campaign.id} has been reviewed.",
            field="name",
            remedy="Create a new campaign to look at them again.",
        )
    return again


def start_next(
    session: Session,
    name: str,
    number: int,
    etag: str,
    now: int,
    actor: str = "",
    ensemble: Ensemble | None = None,
) -> Campaign:
    """Start the next round: volumes that nobody has reviewed are worked on again, the others keep their labels.

    A round that was started before (see `due`) is not started again. `ensemble`, if given, works from now on; it must
    be on the campaign's grid. Raises CLASS_MAP_MISMATCH, GRID_MISMATCH, and what `due` and `fusing.next_policy` do.
    """
    campaign = journal.lock(session, name)
    again = due(session, campaign, number, etag)
    if not again:
        return campaign
    if ensemble:
        ensembles.require_same(ensemble, campaign.class_map, campaign.spacing_mm)
        campaign.merge_policy = fusing.next_policy(campaign.asked_policy, campaign.merge_policy, ensemble)
        campaign.models, campaign.organs = list(ensemble.models), list(ensemble.organs)
    campaign.round += 1
    campaign.state = State.RUNNING
    campaign.ready_count = campaign.volume_count - again
    campaign.failed_count = 0
    session.execute(update(Item).where(Item.campaign == campaign.id).values(rank=0, round=campaign.round))
    session.execute(
        update(Item)
        .where(*_unreviewed(campaign))
        .values(state=ItemState.PENDING, queued=False, age=now, predictions=[], attention_map="", organs=[], error="")
    )
    message = f"Round {campaign.round} over {amount(again, 'volume')}."
    journal.record(session, campaign, Kind.ROUND_STARTED, now, message=message, actor=actor)
    demand.met(session)
    return campaign


def cancel(session: Session, name: str, etag: str, now: int, actor: str = "") -> Campaign:
    """Close the campaign; one that is closed or finished stays as it is. A decision already made is still merged.

    Raises ETAG_MISMATCH.
    """
    campaign = journal.lock(session, name)
    if campaign.state in (State.CANCELLED, State.FINISHED):
        return campaign
    campaigns.require_etag(etag, str(campaign.version))
    stopped = update(Item).where(Item.campaign == campaign.id, Item.state.in_(UNDONE))
    session.execute(stopped.values(state=ItemState.FAILED, error=CANCELLED_ERROR))
    campaign.failed_count = campaign.volume_count - campaign.ready_count
    withdrawn = desk.withdraw(session, campaign)
    campaign.open_review_count -= withdrawn
    campaign.state = State.CANCELLED
    message = f"{amount(withdrawn, 'review')} withdrawn."
    journal.record(session, campaign, Kind.CANCELLED, now, message=message, actor=actor)
    return campaign


def page(session: Session, before: tuple[int, str] | None, limit: int) -> list[Campaign]:
    """Campaigns, newest first, older than the one that `before` (time, id) names."""
    statement = select(Campaign).order_by(Campaign.create_time.desc(), Campaign.id).limit(limit)
    if before is not None:
        time, name = before
        statement = statement.where(
            or_(Campaign.create_time < time, (Campaign.create_time == time) & (Campaign.id > name))
        )
    return list(session.scalars(statement))


def _unreviewed(campaign: Campaign) -> tuple[ColumnElement[bool], ...]:
    return Item.campaign == campaign.id, Item.volume.not_in(pool.reviewed(campaign.id))

"""Campaigns and their rounds in the database: create, start, rank, close, cancel.

Every function that takes a `Session` works inside the caller's transaction and locks the campaign.
"""

from dataclasses import dataclass

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.orm import Session

from services.core.errors import AtlasError, Reason
from services.scheduler import campaigns, desk, journal
from services.scheduler.acquisition import Candidate, by_attention, for_review
from services.scheduler.campaigns import ItemState, Kind, State
from services.scheduler.ensembles import Ensemble
from services.scheduler.reviews import State as ReviewState
from services.scheduler.tables import Campaign, Item, Review

_UNDONE = (ItemState.PENDING, ItemState.RUNNING)
CANCELLED_ERROR = "CAMPAIGN_STATE: The campaign was cancelled before this volume was done."


@dataclass(frozen=True)
class Plan:
    """What CreateCampaign asks for, checked."""

    campaign: str
    volumes: tuple[str, ...]
    ensemble: Ensemble
    profile: str
    review_share: float
    request_id: str
    fingerprint: str
    trace_id: str


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
        review_share=plan.review_share,
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
    }
    session.execute(insert(Item), [blank | {"volume": volume} for volume in plan.volumes])
    journal.record(session, campaign, Kind.ROUND_STARTED, now, message=f"Round 1 over {len(plan.volumes)} volumes.")
    return campaign


def start_next(session: Session, name: str, number: int, etag: str, now: int) -> Campaign:
    """Start the next round: volumes that nobody has reviewed are worked on again, the others keep their labels.

    `number` is the round's, or 0 for whichever is next. A round that was started before is not started again.
    Raises CAMPAIGN_STATE, also when every volume has been reviewed, FIELD_INVALID and ETAG_MISMATCH.
    """
    campaign = journal.lock(session, name)
    if number and campaigns.is_started(number, campaign.round):
        return campaign
    campaigns.require_etag(etag, str(campaign.version))
    campaigns.require_startable(State(campaign.state), f"campaigns/{campaign.id}")
    reviewed = select(Review.volume).where(Review.campaign == campaign.id, Review.state == ReviewState.DONE)
    mine = Item.campaign == campaign.id
    again = session.scalar(select(func.count()).select_from(Item).where(mine, Item.volume.not_in(reviewed))) or 0
    if not again:
        raise AtlasError(
            Reason.CAMPAIGN_STATE,
            f"Every volume of campaigns/{campaign.id} has been reviewed.",
            field="name",
            remedy="Create a new campaign to look at them again.",
        )
    campaign.round += 1
    campaign.state = State.RUNNING
    campaign.ready_count = campaign.volume_count - again
    campaign.failed_count = 0
    session.execute(update(Item).where(mine).values(rank=0, round=campaign.round))
    session.execute(
        update(Item)
        .where(mine, Item.volume.not_in(reviewed))
        .values(state=ItemState.PENDING, queued=False, age=now, predictions=[], attention_map="", organs=[], error="")
    )
    message = f"Round {campaign.round} over {again} volumes."
    journal.record(session, campaign, Kind.ROUND_STARTED, now, message=message)
    return campaign


def close_if_complete(session: Session, campaign: Campaign, now: int) -> None:
    """Rank a locked campaign's round and open its reviews, if no volume is still to do."""
    undone = select(Item.volume).where(Item.campaign == campaign.id, Item.state.in_(_UNDONE)).limit(1)
    if campaign.state != State.RUNNING or session.scalar(undone) is not None:
        return
    reviewed = select(Review.volume).where(Review.campaign == campaign.id, Review.state == ReviewState.DONE)
    mine = Item.campaign == campaign.id
    unreviewed = select(Item.volume, Item.priority).where(
        mine, Item.state == ItemState.READY, Item.volume.not_in(reviewed)
    )
    ranked = by_attention(Candidate(volume, priority) for volume, priority in session.execute(unreviewed))
    ranks = [
        {"campaign": campaign.id, "volume": candidate.volume, "rank": rank}
        for rank, candidate in enumerate(ranked, start=1)
    ]
    if ranks:
        session.execute(update(Item), ranks)
    chosen = for_review(ranked, campaign.review_share)
    # Those chosen are the first in rank.
    for item in session.scalars(select(Item).where(mine, Item.rank.between(1, len(chosen)))):
        desk.open_review(session, campaign, item, now)
    campaign.open_review_count = len(chosen)
    campaign.state = State.IN_REVIEW if chosen else State.ROUND_DONE
    message = f"{len(ranked)} volumes ranked, {len(chosen)} to review."
    journal.record(session, campaign, Kind.RANKED, now, message=message)
    if not chosen:
        journal.record(session, campaign, Kind.ROUND_DONE, now, message="No volume needs a person.")


def cancel(session: Session, name: str, etag: str, now: int) -> Campaign:
    """Close the campaign; closing it twice changes nothing. A decision already made is still merged.

    Raises ETAG_MISMATCH.
    """
    campaign = journal.lock(session, name)
    if campaign.state == State.CANCELLED:
        return campaign
    campaigns.require_etag(etag, str(campaign.version))
    stopped = update(Item).where(Item.campaign == campaign.id, Item.state.in_(_UNDONE))
    session.execute(stopped.values(state=ItemState.FAILED, error=CANCELLED_ERROR))
    campaign.failed_count = campaign.volume_count - campaign.ready_count
    withdrawn = desk.withdraw(session, campaign)
    campaign.open_review_count -= withdrawn
    campaign.state = State.CANCELLED
    message = f"{withdrawn} reviews withdrawn."
    journal.record(session, campaign, Kind.CANCELLED, now, message=message)
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

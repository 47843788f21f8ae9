"""The end of a round's work: its volumes are ranked, and reviews are opened for those that were chosen."""

from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from services.core.texts import amount
from services.scheduler import desk, journal, pool
from services.scheduler.acquisition import ORDERS, Setting
from services.scheduler.acquisition.choice import Budget, Chosen, cases_of, choose
from services.scheduler.campaigns import UNDONE, Kind, State
from services.scheduler.pool import Ready
from services.scheduler.tables import Campaign, Item, Review


def close_if_complete(session: Session, campaign: Campaign, now: int) -> None:
    """Rank a locked campaign's round and open its reviews, if no volume is still to do."""
    undone = select(Item.volume).where(Item.campaign == campaign.id, Item.state.in_(UNDONE)).limit(1)
    if campaign.state != State.RUNNING or session.scalar(undone) is not None:
        return
    ready = pool.unreviewed(session, campaign.id)
    chosen = _choose(session, campaign, ready)
    first = queue_length(session, campaign) + 1
    for place, one in enumerate(chosen, start=first):
        desk.open_review(session, campaign, one, place, now)
    campaign.open_review_count = len(chosen)
    campaign.state = State.IN_REVIEW if chosen else State.ROUND_DONE
    message = f"{amount(len(ready), 'volume')} ranked, {len(chosen)} to review."
    journal.record(session, campaign, Kind.RANKED, now, message=message)
    if not chosen:
        journal.record(session, campaign, Kind.ROUND_DONE, now, message="No volume is sent to a person.")


def queue_length(session: Session, campaign: Campaign) -> int:
    """The last place in the queue of a campaign's round."""
    mine = (Review.campaign == campaign.id) & (Review.round == campaign.round)
    return session.scalar(select(func.max(Review.rank)).where(mine)) or 0


def lot(campaign: Campaign, purpose: str) -> str:
    """The seed of what is drawn by lot: another one in every campaign, round and audit, and the same if repeated."""
    return f"{campaign.id}/{campaign.round}/{purpose}"


def _choose(session: Session, campaign: Campaign, ready: Sequence[Ready]) -> list[Chosen]:
    cost, left = pool.cost_model(session), pool.left(session, campaign)
    name = pb.Campaign.Strategy.Name(pb.Campaign.Strategy.ValueType(campaign.strategy))
    strategy = ORDERS[name.removeprefix("STRATEGY_").lower()]
    setting = Setting(lot(campaign, "control"), pool.seen_before(session, campaign.id))
    candidates = [one.candidate(cost) for one in ready if one.askable]
    budget = Budget(int(min(cases_of(campaign.review_share, len(ready)), left.cases)), left.minutes)
    choice = choose(candidates, strategy, setting, budget, campaign.control_share)
    # People have labelled the others throughout: they come last.
    order = [c.volume for c in choice.ranking] + sorted(one.volume for one in ready if not one.askable)
    ranks = [{"campaign": campaign.id, "volume": volume, "rank": place} for place, volume in enumerate(order, start=1)]
    if ranks:
        session.execute(update(Item), ranks)
    return choice.queue

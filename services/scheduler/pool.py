"""Out of the tables: what there is to choose from, what was reviewed, what it took, and what is left of the budget."""

import math
from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from services.scheduler import facts
from services.scheduler.acquisition import Candidate
from services.scheduler.acquisition.cost import CostModel, learn
from services.scheduler.campaigns import Arm, ItemState
from services.scheduler.facts import Facts
from services.scheduler.reviews import MINUTE, State
from services.scheduler.tables import Campaign, Item, Review

_LEARN_FROM = 1000


@dataclass(frozen=True)
class Ready:
    """A volume whose labels are ready and that nobody has looked at in its campaign."""

    volume: str
    priority: int
    facts: Facts
    askable: bool
    """Whether there is a label of ours in it: what people have labelled throughout is not looked at again."""

    def candidate(self, cost: CostModel) -> Candidate:
        """The volume as the strategies see it."""
        return facts.candidate(self.volume, self.priority, self.facts, cost)


@dataclass(frozen=True)
class Left:
    """What of a campaign's budget is left; infinite without one."""

    cases: float
    minutes: float


def reviewed(campaign: str) -> Select[str]:
    """Volumes of a campaign that people have looked at."""
    return select(Review.volume).where(Review.campaign == campaign, Review.state == State.DONE)


def unreviewed(session: Session, campaign: str) -> list[Ready]:
    """Volumes whose labels are ready and that nobody has looked at in this campaign."""
    mine = (Item.campaign == campaign) & (Item.state == ItemState.READY)
    columns = select(Item.volume, Item.priority, Item.facts, Item.attention_map != "")
    return [Ready(*row) for row in session.execute(columns.where(mine, Item.volume.not_in(reviewed(campaign))))]


def unseen(session: Session, campaign: str) -> list[Ready]:
    """Those of them with labels of ours: what an audit speaks of."""
    return [ready for ready in unreviewed(session, campaign) if ready.askable]


def seen_before(session: Session, campaign: str) -> list[Candidate]:
    """The volumes that people have looked at in this campaign, as the strategies see them."""
    mine = (Item.campaign == campaign) & Item.volume.in_(reviewed(campaign))
    rows = session.execute(select(Item.volume, Item.priority, Item.facts).where(mine))
    return [facts.candidate(volume, priority, known, CostModel()) for volume, priority, known in rows]


def cost_model(session: Session) -> CostModel:
    """What the newest finished reviews of all campaigns have taught."""
    done = select(Review.facts, Review.active_time).where(Review.state == State.DONE, Review.active_time > 0)
    newest = session.execute(done.order_by(Review.submit_time.desc()).limit(_LEARN_FROM))
    return learn([(facts.work(known), active / MINUTE) for known, active in newest])


def left(session: Session, campaign: Campaign) -> Left:
    """Reviews of rounds are spent once they are open: finished ones as they took, the others as is expected."""
    mine = (Review.campaign == campaign.id) & (Review.arm != Arm.AUDIT) & (Review.state != State.WITHDRAWN)
    done = Review.state.in_((State.SUBMITTED, State.DONE))
    cases = session.scalar(select(func.count()).select_from(Review).where(mine)) or 0
    # PostgreSQL sums whole numbers to decimals.
    worked = float(session.scalar(select(func.sum(Review.active_time)).where(mine, done)) or 0) / MINUTE
    to_come = session.scalar(select(func.sum(Review.expected_minutes)).where(mine, ~done)) or 0.0
    return Left(
        math.inf if campaign.budget_cases is None else max(campaign.budget_cases - cases, 0),
        math.inf if campaign.budget_minutes is None else max(campaign.budget_minutes - worked - to_come, 0.0),
    )

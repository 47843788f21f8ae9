"""How much work there is for the networks: what GPU pods come and go with."""

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from services.scheduler.campaigns import UNDONE
from services.scheduler.reviews import MINUTE
from services.scheduler.tables import Executor, Item

# As long as a pod may take to start, and whoever was refused to ask again.
_ASKED = 30 * MINUTE


def backlog(session: Session, now: int) -> int:
    """Volumes of all campaigns that wait or are being worked on.

    It is 1 at least for half an hour after a campaign or a round was refused for want of a network: without a pod
    neither can begin, and without them no pod would come.
    """
    volumes = session.scalar(select(func.count()).select_from(Item).where(Item.state.in_(UNDONE))) or 0
    asked = session.scalar(select(func.max(Executor.asked_time)))
    return max(volumes, int(asked is not None and asked > now - _ASKED))


def ask(session: Session, executor: str, now: int) -> None:
    """A campaign or a round was refused by this process for want of a network."""
    session.execute(update(Executor).where(Executor.id == executor).values(asked_time=now))


def met(session: Session) -> None:
    """A campaign or a round has begun: what was refused before needs no pod of its own any more."""
    session.execute(update(Executor).where(Executor.asked_time.is_not(None)).values(asked_time=None))

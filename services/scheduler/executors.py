"""The processes that run workflows, and whether they are alive."""

import threading
from collections.abc import Sequence

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from services.core.errors import AtlasError
from services.scheduler.clock import Clock
from services.scheduler.database import Database
from services.scheduler.settings import Settings
from services.scheduler.tables import Executor

log = structlog.get_logger()


class SignOfLife:
    """Tells every sweep_seconds that this process lives, in a thread that does nothing else and so is never late."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._settings, self._database, self._clock = settings, database, clock
        self._thread = threading.Thread(target=self._loop, name="sign of life", daemon=True)
        self._stopping = threading.Event()

    def start(self) -> None:
        """Give the first sign, and go on."""
        self._give()
        self._thread.start()

    def stop(self) -> None:
        """Give none any more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _give(self) -> None:
        with self._database.change() as session:
            session.merge(Executor(id=self._settings.executor, seen_time=self._clock()))

    def _loop(self) -> None:
        while not self._stopping.wait(self._settings.sweep_seconds):
            try:
                self._give()
            except AtlasError as error:
                log.warning("no sign of life given", error=str(error))
            except Exception:
                # The next one may do better; without any, a living process would be taken for dead.
                log.exception("no sign of life given")


def count(session: Session) -> int:
    """How many there are, the silent ones among them."""
    return session.scalar(select(func.count()).select_from(Executor)) or 0


def silent(session: Session, since: int) -> list[str]:
    """Those that gave their last sign before `since`, in microseconds since 1970 UTC."""
    return list(session.scalars(select(Executor.id).where(Executor.seen_time < since)))


def first(session: Session, since: int) -> str | None:
    """The first by name of those that gave a sign at or after `since`: it does what only one may do."""
    return session.scalar(select(func.min(Executor.id)).where(Executor.seen_time >= since))


def forget(session: Session, executors: Sequence[str]) -> None:
    """Others have taken over from these."""
    session.execute(delete(Executor).where(Executor.id.in_(executors)))

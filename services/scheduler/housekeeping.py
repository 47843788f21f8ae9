"""The loop beside the calls: feeds the workflow engine, ends leases, finds what was lost, counts.

Of several replicas one does it at a time.
"""

import threading
import time
from datetime import UTC, datetime

import structlog

from services.core.errors import AtlasError, Reason
from services.scheduler import decisions, demand, desk, executors, items
from services.scheduler.clock import Clock
from services.scheduler.database import Database
from services.scheduler.decisions import Submission
from services.scheduler.items import Work
from services.scheduler.metrics import BACKLOG, OLDEST_REVIEW, OPEN_REVIEWS, REVIEWS, VOLUMES
from services.scheduler.reviews import SECOND
from services.scheduler.settings import Settings
from services.scheduler.workflows import Astray, Workflows

LOST = f"{Reason.INTERNAL.value}: The work ended without a result. The scheduler's log tells why; start a new round."
_FORGET_EVERY = 3600 * SECOND

log = structlog.get_logger()


class Housekeeper:
    """Runs `feed` every poll_seconds, or at once when woken, and `sweep` every sweep_seconds, in a thread."""

    def __init__(self, settings: Settings, database: Database, workflows: Workflows, clock: Clock) -> None:
        self._settings, self._database, self._workflows, self._clock = settings, database, workflows, clock
        self._thread = threading.Thread(target=self._loop, name="housekeeper", daemon=True)
        self._woken = threading.Event()
        self._stopping, self._forget_at = False, 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """There is new work."""
        self._woken.set()

    def stop(self) -> None:
        """End after the turn in hand."""
        self._stopping = True
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()

    def feed(self) -> None:
        """Give the workflow engine the next volumes, about twice what can run at once, and every new decision.

        The engine is told first and our table after it: a crash in between tells the engine twice, which is harmless.
        """
        with self._database.read() as session:
            replicas = max(1, executors.count(session))
            works = items.to_queue(session, 2 * self._settings.concurrency * replicas)
            submissions = decisions.to_queue(session, 2 * self._settings.concurrency * replicas)
        if works or submissions:
            self._workflows.queue_volumes(works)
            self._workflows.queue_decisions(submissions)
            with self._database.change() as session:
                items.queued(session, works)
                decisions.queued(session, submissions)

    def sweep(self) -> None:
        """End leases, take over from dead replicas, see after what went astray, forget what ended long ago."""
        now = self._clock()
        with self._database.read() as session:
            campaigns = desk.with_ended_leases(session, now)
            works, submissions = items.in_hand(session), decisions.in_hand(session)
        for campaign in campaigns:
            with self._database.change() as session:
                desk.sweep(session, campaign, now)
        self._find(self._workflows.astray_volumes(works), self._workflows.astray_decisions(submissions), now)
        with self._database.read() as session:
            dead = executors.silent(session, now - int(self._settings.dead_seconds * SECOND))
        if dead:
            log.warning("taking over from dead executors", executors=dead)
            self._workflows.take_over(dead)
            with self._database.change() as session:
                executors.forget(session, dead)
        if now >= self._forget_at:
            self._workflows.forget(datetime.fromtimestamp(now / SECOND, UTC))
            self._forget_at = now + _FORGET_EVERY

    def _find(self, volumes: Astray[Work], submissions: Astray[Submission], now: int) -> None:
        if volumes.unknown or submissions.unknown:
            log.warning("giving unknown work again", volumes=len(volumes.unknown), decisions=len(submissions.unknown))
        for work in volumes.lost:
            with self._database.change() as session:
                items.failed(session, work, LOST, now)
        for work in volumes.unknown:
            with self._database.change() as session:
                items.put_back(session, work, now)
        for submission in submissions.lost:
            with self._database.change() as session:
                decisions.unmergeable(session, submission, LOST, now)
        with self._database.change() as session:
            decisions.queued(session, submissions.unknown, known=False)

    def measure(self) -> None:
        """Set the gauges."""
        now = self._clock()
        with self._database.read() as session:
            backlog = demand.backlog(session, now)
            volumes, reviews = items.census(session), desk.census(session)
            count, oldest = desk.waiting(session, now)
        BACKLOG.set(backlog)
        for item_state, number in volumes.items():
            VOLUMES.labels(item_state.name.lower()).set(number)
        for review_state, number in reviews.items():
            REVIEWS.labels(review_state.name.lower()).set(number)
        OPEN_REVIEWS.set(count)
        OLDEST_REVIEW.set(0 if oldest is None else (now - oldest) / SECOND)

    def _loop(self) -> None:
        swept = float("-inf")
        while not self._stopping:
            try:
                due = time.monotonic() - swept >= self._settings.sweep_seconds
                with self._database.housekeeping() as mine:
                    if mine:
                        self.feed()
                    if mine and due:
                        self.sweep()
                if due:
                    self.measure()
                    swept = time.monotonic()
            except AtlasError as error:
                log.warning("housekeeping waits", error=str(error))
            except Exception:
                # The next turn may do better; without this thread nothing would go on.
                log.exception("housekeeping failed")
            self._woken.wait(self._settings.poll_seconds)
            self._woken.clear()

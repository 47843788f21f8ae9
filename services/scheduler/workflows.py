"""The one module that knows DBOS: it runs the pipeline's steps durably, and never twice once they are done.

Only names and keys are kept, as portable JSON. Workflow ids follow from what is to be done, so queueing twice is
queueing once. A process that starts takes up what it had in flight; on PostgreSQL `take_over` does so for a dead one.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

import structlog
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID

from services.scheduler.decisions import Submission
from services.scheduler.desk import Key
from services.scheduler.items import Work
from services.scheduler.pipeline import Pipeline
from services.scheduler.settings import WORKFLOW_CONNECTIONS, Settings

# What a running workflow may be replayed by. Change it when the order or the names of the pipeline's steps change, and
# let the work in flight under the old one end first.
VERSION = "wf-2"
VOLUMES, DECISIONS = "volumes", "decisions"
_ENDED_BADLY = ["ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_PAGE = 500

log = structlog.get_logger()
T = TypeVar("T")


@dataclass(frozen=True)
class Astray(Generic[T]):
    """Work that our tables give to the engine, and that it does not do."""

    lost: list[T]
    """Its workflow ended without having told what became of it: a fault of this program."""
    unknown: list[T]
    """The engine has no such workflow; its tables were lost, or are older than ours after a restore."""


class Workflows:
    """Durable runs of a pipeline. There is one in a process, because DBOS has one registry in a process."""

    def __init__(self, settings: Settings, pipeline: Pipeline) -> None:
        self._settings = settings
        self._log_through_structlog()
        DBOS(config=_config(settings))

        # Without bound: a volume is not at fault when the process that works on it dies.
        @DBOS.workflow(name="volume", max_recovery_attempts=None)
        def volume(campaign: str, round_number: int, name: str) -> None:
            pipeline.volume(_run, Work(campaign, round_number, name))

        @DBOS.workflow(name="decision", max_recovery_attempts=None)
        def decision(campaign: str, review: str, token: int) -> None:
            pipeline.decision(_run, Submission(Key(campaign, review), token))

        self._volume: Callable[[str, int, str], None] = volume
        self._decision: Callable[[str, str, int], None] = decision

    def launch(self) -> None:
        """Start, and take up what this executor had in flight."""
        if self._settings.is_sqlite:
            _prepare(_workflow_file(self._settings))
        DBOS.launch()
        for queue in (VOLUMES, DECISIONS):
            DBOS.register_queue(
                queue,
                worker_concurrency=self._settings.concurrency,
                polling_interval_sec=self._settings.poll_seconds,
                on_conflict="always_update",
            )

    def queue_volumes(self, works: Iterable[Work]) -> None:
        """Have these done, in this order; those that are queued already stay as they are."""
        for work in works:
            with SetWorkflowID(_work_id(work)):
                DBOS.enqueue_workflow(VOLUMES, self._volume, work.campaign, work.round, work.volume)

    def queue_decisions(self, submissions: Iterable[Submission]) -> None:
        """Have these merged; they do not wait behind volumes."""
        for submission in submissions:
            with SetWorkflowID(_submission_id(submission)):
                key = submission.key
                DBOS.enqueue_workflow(DECISIONS, self._decision, key.campaign, key.review, submission.token)

    def astray_volumes(self, works: Iterable[Work]) -> Astray[Work]:
        """Those that nothing will come of any more."""
        return _astray({_work_id(work): work for work in works})

    def astray_decisions(self, submissions: Iterable[Submission]) -> Astray[Submission]:
        """Those that nothing will come of any more."""
        return _astray({_submission_id(submission): submission for submission in submissions})

    def take_over(self, executors: list[str]) -> None:
        """Put what dead executors had in flight back into the queues, unless a living one has it meanwhile."""
        # The public `resume_workflow` does not ask who has it: it could start again what a living one has just taken.
        DBOS._recover_pending_workflows(executors)

    def forget(self, now: datetime) -> int:
        """Delete what DBOS remembers of work that ended long ago; how many there were."""
        before = (now - timedelta(days=self._settings.retention_days)).isoformat()
        ended = DBOS.list_workflows(
            completed_before=before,
            status=["SUCCESS", *_ENDED_BADLY],
            limit=_PAGE,
            load_input=False,
            load_output=False,
        )
        DBOS.delete_workflows([workflow.workflow_id for workflow in ended])
        return len(ended)

    def close(self) -> None:
        """Stop. Work in flight is taken up at the next start."""
        DBOS.destroy(destroy_registry=True)

    def _log_through_structlog(self) -> None:
        logger = logging.getLogger("dbos")
        # DBOS adds its own console handler only to a logger without one.
        logger.handlers = [_Structlog()]
        logger.propagate = False


class _Structlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log.log(record.levelno, "dbos", message=record.getMessage(), exc_info=record.exc_info)


def _run(name: str, action: Callable[[], Any]) -> Any:
    return DBOS.run_step({"name": name}, action)


def _work_id(work: Work) -> str:
    return f"volume/{work.campaign}/{work.round}/{work.volume}"


def _submission_id(submission: Submission) -> str:
    return f"decision/{submission.key.campaign}/{submission.key.review}/{submission.token}"


def _astray(by_id: dict[str, T]) -> Astray[T]:
    ids = list(by_id)
    states: dict[str, str | None] = {}
    for start in range(0, len(ids), _PAGE):
        page = DBOS.list_workflows(workflow_ids=ids[start : start + _PAGE], load_input=False, load_output=False)
        states |= {workflow.workflow_id: workflow.status for workflow in page}
    return Astray(
        lost=[subject for key, subject in by_id.items() if (states.get(key) or "") in _ENDED_BADLY],
        unknown=[subject for key, subject in by_id.items() if key not in states],
    )


def _config(settings: Settings) -> DBOSConfig:
    if settings.is_sqlite:
        url = f"sqlite:///{_workflow_file(settings)}"
    else:
        url = settings.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return DBOSConfig(
        name="abdomenatlas-scheduler",
        system_database_url=url,
        sys_db_pool_size=WORKFLOW_CONNECTIONS,
        executor_id=settings.executor,
        application_version=VERSION,
        serializer=DBOSPortableJSONSerializer(),
        log_level="WARNING",
        enable_otlp=False,
    )


def _workflow_file(settings: Settings) -> str:
    return f"{settings.url.database}-workflows"


def _prepare(path: str) -> None:
    """Readers and the writer of this file need not wait for one another; the file remembers it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")

"""The scheduler put together: what there is in a process, and in which order it starts and stops."""

from typing import TYPE_CHECKING

from services.core.audit.log import AuditLog
from services.core.rpc.audit_servicer import AuditServicer
from services.scheduler import clock
from services.scheduler.campaign_calls import CampaignCalls
from services.scheduler.database import Database
from services.scheduler.executors import SignOfLife
from services.scheduler.housekeeping import Housekeeper
from services.scheduler.pipeline import Pipeline
from services.scheduler.retry import Patience
from services.scheduler.review_calls import ReviewCalls
from services.scheduler.servicer import SchedulerServicer
from services.scheduler.settings import Settings
from services.scheduler.training_calls import TrainingCalls
from services.scheduler.training_processes import TrainingProcesses
from services.scheduler.trainings import TrainingRunner
from services.scheduler.workers import Workers
from services.scheduler.workflows import Workflows

if TYPE_CHECKING:
    from services.scheduler.cluster.scaler import Scaler


class Service:
    """Database, workers, durable workflows and the housekeeper, around one servicer.

    Raises DEPENDENCY_UNAVAILABLE where it shall work in a cluster, and there is none.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings.url, settings.connections)
        self._workers = Workers(settings)
        patience = Patience(settings.retry_seconds)
        self._workflows = Workflows(settings, Pipeline(self._database, self._workers, patience, clock.now))
        self._housekeeper = Housekeeper(settings, self._database, self._workflows, clock.now)
        self._sign_of_life = SignOfLife(settings, self._database, clock.now)
        self._scaler, jobs = _cluster(settings, self._database)
        self._processes = _processes(settings)
        wake = self._housekeeper.wake
        self.servicer = SchedulerServicer(
            CampaignCalls(self._database, self._workers, clock.now, wake, settings.executor),
            ReviewCalls(self._database, self._workers, clock.now, wake),
            TrainingCalls(jobs or self._processes),
            settings.poll_seconds,
        )
        log = AuditLog("scheduler", writing=self._database.change, reading=self._database.read)
        self.audit = AuditServicer(log)

    def prepare(self) -> None:
        """Take the database and bring it up to date.

        Raises FIELD_INVALID if another process has it, DEPENDENCY_UNAVAILABLE if it does not answer.
        """
        self._database.occupy(self._settings.executor)
        self._database.migrate()

    def start(self) -> None:
        """Go on where the last process stopped."""
        self._sign_of_life.start()
        self._workflows.launch()
        self._housekeeper.start()
        if self._scaler:
            self._scaler.start()
        if self._processes:
            self._processes.serve()

    def stop(self) -> None:
        """Cut off the calls in flight; their work is taken up at the next start."""
        if self._scaler:
            self._scaler.stop()
        if self._processes:
            self._processes.stop()
        self._housekeeper.stop()
        self._workers.stop()
        self._workflows.close()
        self._workers.close()
        self._sign_of_life.stop()
        self._database.close()


def _processes(settings: Settings) -> TrainingProcesses | None:
    if settings.training_models is None:
        return None
    files = {"ATLAS_CA": settings.tls_ca, "ATLAS_CERT": settings.tls_cert, "ATLAS_KEY": settings.tls_key}
    environment = {"ATLAS_STORAGE": settings.storage} | {name: str(path) for name, path in files.items() if path}
    return TrainingProcesses(settings.training_models, settings.training_folder, environment, settings.training_slots)


def _cluster(settings: Settings, database: Database) -> "tuple[Scaler | None, TrainingRunner | None]":
    if not (settings.cluster_deployment or settings.cluster_training):
        return None, None
    # Imported here because the client of Kubernetes takes 40 MB, which no other installation needs.
    from services.scheduler.cluster.api import Api
    from services.scheduler.cluster.jobs import Jobs
    from services.scheduler.cluster.scaler import Scaler

    api = Api(settings.cluster_account)
    return (
        Scaler(settings, database, api, clock.now) if settings.cluster_deployment else None,
        Jobs(api, settings.cluster_training) if settings.cluster_training else None,
    )

"""Settings of the scheduler, read once from ATLAS_SCHEDULER_*."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict
from sqlalchemy.engine import URL

from services.core.database import DatabaseUrl, parse
from services.core.rpc.settings import ServiceSettings

SQLITE_EXECUTOR = "local"
# Calls hold a connection for milliseconds and share these with housekeeping and the sign of life.
_SHARED_CONNECTIONS = 12
WORKFLOW_CONNECTIONS = 8
"""How many connections of its own the workflow engine may have open at once, beside one that listens: each of its
threads takes one for milliseconds, before and after a step."""


class Settings(ServiceSettings):
    """Where the scheduler keeps its truth, whom it calls, and how much it asks for at once."""

    model_config = SettingsConfigDict(env_prefix="ATLAS_SCHEDULER_", frozen=True)

    port: int = Field(50055, ge=0, le=65535)
    metrics_port: int = Field(9155, ge=0, le=65535)
    drain_seconds: float = Field(10.0, gt=0, le=3600)
    """How long calls in flight may go on after SIGTERM. Work on volumes is cut off at once and taken up at start."""

    database_url: DatabaseUrl = SecretStr("sqlite:///scheduler.db")
    """SQLAlchemy URL: "sqlite:///path" for one process on one machine, or "postgresql://user:password@host/name". On
    SQLite the workflow engine keeps its tables in "<path>-workflows" beside it, on PostgreSQL in the schema "dbos".
    Each process opens at most 21 connections and two for every one of `concurrency`."""
    executor_id: str = Field("", max_length=63, pattern=r"^[A-Za-z0-9_.-]*$")
    """Stable name of this process, the same after a restart, such as a StatefulSet's pod name: work in flight is taken
    up by it. Required on PostgreSQL, where every replica needs its own."""

    storage: str = "127.0.0.1:50051"
    """Address of the storage service."""
    inference: str = "127.0.0.1:50052"
    """Address of the inference service."""
    uncertainty: str = "127.0.0.1:50053"
    """Address of the uncertainty service."""
    merging: str = "127.0.0.1:50054"
    """Address of the merging service."""

    concurrency: int = Field(4, ge=1, le=1024)
    """Volumes that this process works on at once."""
    predict_seconds: float = Field(3600.0, gt=0)
    """Deadline of one prediction; on a CPU a large CT may take many minutes."""
    score_seconds: float = Field(900.0, gt=0)
    """Deadline of one attention map."""
    merge_seconds: float = Field(900.0, gt=0)
    """Deadline of one merge."""
    silent_seconds: float = Field(60.0, ge=1)
    """A prediction, score or merge that says nothing for so long is asked for again. Workers give a sign every 5 s."""
    retry_seconds: float = Field(1800.0, ge=0)
    """How long a step is repeated after its first failure while a service behind it does not answer; then the volume
    fails."""

    poll_seconds: float = Field(0.5, gt=0, le=60)
    """How often new work is looked for, and how late a watcher may learn of an event."""
    sweep_seconds: float = Field(5.0, gt=0, le=600)
    """How often expired leases, lost work and dead replicas are looked for, and how often a replica gives a sign."""
    dead_seconds: float = Field(60.0, gt=0)
    """A replica that gave no sign for so long is dead, and another one takes its work over. So does a
    process on SQLite that was given another executor_id."""
    retention_days: float = Field(7.0, gt=0)
    """How long the workflow engine remembers finished work. Campaigns and their events are kept for ever."""

    cluster_deployment: str = Field("", max_length=253, pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")
    """Triton's Deployment in Kubernetes, whose number of pods this service keeps to the backlog; empty leaves it alone.
    One scheduler does it: the first by executor_id that lives."""
    cluster_account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    """Folder with token, ca.crt and namespace of the service account that calls Kubernetes."""
    cluster_min_pods: int = Field(0, ge=0, le=100)
    """Fewest Triton pods; 0 lets the GPUs go when there is no work."""
    cluster_max_pods: int = Field(4, ge=1, le=100)
    """Most Triton pods."""
    cluster_volumes_per_pod: int = Field(20, ge=1)
    """How many volumes in the backlog justify one pod: there are ceil(backlog / this) of them."""
    cluster_cooldown_seconds: float = Field(600.0, ge=0, le=3600)
    """How long fewer pods must have been enough before any goes. After a start, nothing is known of the time before."""
    cluster_look_seconds: float = Field(15.0, gt=0, le=600)
    """How often backlog and pods are compared."""

    training_models: Path | None = None
    """Folder of the models that trainings of `StartTraining` are of, as processes of this machine; without it and
    without `cluster_training` there are none."""
    training_folder: Path = Path("trainings")
    """Folder that keeps these trainings, their checkpoints and their cache of cases."""
    training_slots: int = Field(1, ge=1, le=64)
    """How many of these trainings run at once; the others wait. Each takes all processors and the GPU it finds."""
    cluster_training: str = Field("", max_length=253, pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")
    """ConfigMap in Kubernetes with the template of a training's Job; empty for no trainings."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.is_sqlite and self.url.database in (None, "", ":memory:"):
            raise ValueError("database_url needs a file: sqlite:///path")
        if not self.is_sqlite and not self.executor_id:
            raise ValueError("executor_id is required on PostgreSQL: a stable name of its own for every replica")
        if self.dead_seconds < 3 * self.sweep_seconds:
            raise ValueError("dead_seconds must be at least three times sweep_seconds: the living are not dead")
        if self.cluster_min_pods > self.cluster_max_pods:
            raise ValueError("cluster_min_pods must not be more than cluster_max_pods")
        return self

    @property
    def url(self) -> URL:
        """Parsed `database_url`, with the driver that this product uses."""
        return parse(self.database_url.get_secret_value())

    @property
    def is_sqlite(self) -> bool:
        """Whether exactly one process may run on this database."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def executor(self) -> str:
        """`executor_id`, or the one name there is on SQLite."""
        return self.executor_id or SQLITE_EXECUTOR

    @property
    def connections(self) -> int:
        """How many connections may be open at once beside the workflow engine's: one for every volume and decision in
        hand."""
        return 2 * self.concurrency + _SHARED_CONNECTIONS

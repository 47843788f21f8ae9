"""The five services."""

from typing import Annotated, Literal

from pydantic import Field

from charts.schema.base import KeyOf, Seconds, Values
from charts.schema.pods import Image, Persistence, Replicated, Resources, resources
from charts.schema.settings import (
    InferenceSettings,
    MergingSettings,
    SchedulerSettings,
    StorageSettings,
    UncertaintySettings,
)

Drain = Annotated[Seconds, Field(le=3600)]


class Service(Replicated):
    """What every service can be told."""

    drainSeconds: Drain = 60
    """How long calls in flight may go on when a pod ends; the pod is given 20 s more than that."""
    logLevel: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged."""


class Database(Values):
    """Where a service keeps its tables."""

    kind: Literal["postgresql", "sqlite"] = "postgresql"
    """"postgresql": a server that is there already. "sqlite": a file on a volume, for one pod."""
    existingSecret: KeyOf = KeyOf(key="url")
    """Secret that holds the URL, such as postgresql+psycopg://USER:PASSWORD@HOST/DATABASE."""


class Objects(Values):
    """Where storage keeps bytes."""

    kind: Literal["s3", "folder"] = "s3"
    """"s3": a server that is there already, see `s3`. "folder": a folder on a volume, for one pod."""


class Storage(Service):
    """The storage service: catalog and objects. It alone holds the keys to both."""

    image: Image = Image(repository="abdomenatlas/storage")
    """Its image."""
    resources: Resources = resources("500m", "2Gi", "4Gi")
    """CPU and memory of its container."""
    database: Database = Database()
    """Where the catalog is."""
    objects: Objects = Objects()
    """Where the bytes are."""
    persistence: Persistence = Persistence(size="100Gi")
    """The volume of SQLite and of the folder; there is none with PostgreSQL and S3."""
    settings: StorageSettings = StorageSettings()
    """Further settings, as docs/settings.md names them without the prefix and in lower case: `max_open_uploads: 50`."""


class Inference(Service):
    """The inference service: CTs to Triton, and its answers to storage."""

    image: Image = Image(repository="abdomenatlas/inference")
    """Its image."""
    resources: Resources = resources("1", "4Gi", "8Gi")
    """CPU and memory of its container."""
    drainSeconds: Drain = 300
    """How long calls in flight may go on when a pod ends: longer than a volume takes."""
    settings: InferenceSettings = InferenceSettings()
    """Further settings, as docs/settings.md names them without the prefix and in lower case: `model_seconds: 600`."""


class Uncertainty(Service):
    """The uncertainty service: attention maps and scores."""

    image: Image = Image(repository="abdomenatlas/uncertainty")
    """Its image."""
    resources: Resources = resources("1", "4Gi", "8Gi")
    """CPU and memory of its container."""
    settings: UncertaintySettings = UncertaintySettings()
    """Further settings, as docs/settings.md names them without the prefix and in lower case."""


class Merging(Service):
    """The merging service: truth, revisions and AI to one label version."""

    image: Image = Image(repository="abdomenatlas/merging")
    """Its image."""
    resources: Resources = resources("1", "4Gi", "12Gi")
    """CPU and memory of its container."""
    settings: MergingSettings = MergingSettings()
    """Further settings, as docs/settings.md names them without the prefix and in lower case."""


class Scheduler(Service):
    """The scheduler: campaigns, rounds, reviews, and the durable workflows under them."""

    image: Image = Image(repository="abdomenatlas/scheduler")
    """Its image."""
    resources: Resources = resources("250m", "512Mi", "1Gi")
    """CPU and memory of its container."""
    drainSeconds: Drain = 10
    """How long calls in flight may go on when a pod ends; work on volumes is taken up by the next one."""
    database: Database = Database()
    """Where campaigns, reviews and workflows are."""
    persistence: Persistence = Persistence(size="10Gi")
    """The volume of SQLite; there is none with PostgreSQL."""
    settings: SchedulerSettings = SchedulerSettings()
    """Further settings, as docs/settings.md names them without the prefix and in lower case: `concurrency: 16`."""

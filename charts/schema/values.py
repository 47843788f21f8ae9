"""All values of the chart."""

from typing import Annotated, Literal

from pydantic import Field

from charts.schema.access import Auth, Expose, NetworkPolicy, Tls
from charts.schema.base import Digest, KeyOf, Name, Texts, Values
from charts.schema.evaluation import Evaluation
from charts.schema.observability import Metrics
from charts.schema.pods import Image, Placement, Resources, resources
from charts.schema.services import Inference, Merging, Scheduler, Storage, Uncertainty
from charts.schema.stores import S3, Postgresql
from charts.schema.training import Training
from charts.schema.triton import Triton


class Global(Values):
    """What holds for all images and addresses."""

    imageRegistry: str = Field("", pattern=r"^([A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9._/-]+)?)?$")
    """Registry of all images, such as the hospital's own mirror: registry.hospital.example/atlas."""
    imageDigests: dict[str, Digest] = Field(default_factory=dict)
    """Digests of images by repository, as the bundle's mirror.sh writes them; an image's own digest goes before."""
    imagePullSecrets: list[Name] = Field(default_factory=list)
    """Names of the Secrets for that registry."""
    imagePullPolicy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    """When images are pulled."""
    clusterDomain: str = Field("cluster.local", min_length=1)
    """Domain of the cluster's own names."""


class Migrations(Placement):
    """A job that brings the tables to the new version's shape before the pods of an upgrade start."""

    enabled: bool = True
    """Whether there is one; without, the first pod that starts does it."""
    resources: Resources = resources("100m", "512Mi", "1Gi")
    """CPU and memory of its containers."""


class Test(Placement):
    """What `helm test` does: one tiny prediction through all services."""

    image: Image = Image(repository="abdomenatlas/cli")
    """Its image."""
    token: KeyOf = KeyOf(key="token")
    """Secret with a token of the role operator; needed unless `insecure`."""
    resources: Resources = resources("100m", "512Mi", "1Gi")
    """CPU and memory of its container."""


class ChartValues(Values):
    """The values of the chart."""

    nameOverride: Annotated[Name, Field(max_length=63)] = ""
    """Name of the chart in the names of objects, instead of its own."""
    fullnameOverride: Name = ""
    """Beginning of the names of all objects, instead of the release's name."""
    commonLabels: Texts = Field(default_factory=dict)
    """Further labels of all objects."""
    commonAnnotations: Texts = Field(default_factory=dict)
    """Further annotations of all objects."""
    insecure: bool = False
    """Run without TLS and without authentication: everybody who reaches the pods may do everything. For evaluation."""
    global_: Global = Field(Global(), alias="global")
    """What holds for all images and addresses."""
    tls: Tls = Tls()
    """Certificates of the services."""
    auth: Auth = Auth()
    """Tokens of people and other systems."""
    postgresql: Postgresql = Postgresql()
    """How PostgreSQL is reached."""
    s3: S3 = S3()
    """The S3 server that holds the bytes."""
    storage: Storage = Storage()
    """The storage service."""
    inference: Inference = Inference()
    """The inference service."""
    uncertainty: Uncertainty = Uncertainty()
    """The uncertainty service."""
    merging: Merging = Merging()
    """The merging service."""
    scheduler: Scheduler = Scheduler()
    """The scheduler."""
    triton: Triton = Triton()
    """NVIDIA Triton, which runs the networks."""
    training: Training = Training()
    """Trainings of networks, which the scheduler runs as Jobs."""
    networkPolicy: NetworkPolicy = NetworkPolicy()
    """Which connections are allowed."""
    expose: Expose = Expose()
    """The way in from outside the cluster."""
    metrics: Metrics = Metrics()
    """Metrics, alerts and the dashboard."""
    evaluation: Evaluation = Evaluation()
    """PostgreSQL and S3 for an evaluation, not for production."""
    migrations: Migrations = Migrations()
    """The job that migrates the tables."""
    test: Test = Test()
    """What `helm test` does."""

"""Triton: the GPU pods, where their models come from, and how many there are."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from charts.schema.base import Count, Name, Quantity, Replicas, Seconds, Sha256, Values
from charts.schema.pods import Image, Pods, Resources, resources
from services.serving.digest import folder_digest

MODELS = Path(__file__).parents[2] / "models"


class Gpu(Values):
    """What GPU a pod gets."""

    enabled: bool = True
    """Whether pods ask for a GPU; without, the networks run on the CPU."""
    resourceName: str = Field("nvidia.com/gpu", pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")
    """Resource that is asked for; a slice of a GPU has a name of its own, such as nvidia.com/mig-2g.20gb."""
    count: Annotated[int, Field(ge=1, le=16)] = 1
    """How many of it one pod gets."""
    runtimeClassName: Name = ""
    """Runtime class of GPU pods, where the cluster needs one; often nvidia."""


class Model(Values):
    """A model that is loaded."""

    name: str = Field(pattern=r"^[a-z0-9_-]+$")
    """Its folder's name."""
    sha256: Sha256
    """Digest of the folder, as `python -m services.serving.digest FOLDER` prints it."""


def demonstration_models() -> list[Model]:
    """The models of this repository."""
    folders = sorted(card.parent for card in MODELS.glob("*/model.yaml"))
    return [Model(name=folder.name, sha256=folder_digest(folder)) for folder in folders]


class Models(Values):
    """Where the models come from; an init container fetches them and refuses any that is not what its digest says."""

    source: Literal["image", "storage"] = "image"
    """"image": from the folder /models of `image`. "storage": objects that `atlas store-model` has stored."""
    image: Image = Image(repository="abdomenatlas/models")
    """Image with the models in its folder /models; whatever image has that, `sh` and `sha256sum` will do."""
    load: list[Model] = demonstration_models()
    """Name and digest of every model that is loaded; by default the demonstration networks, not for clinical use. From
    storage, the digest is the one that `atlas store-model` prints."""
    size: Quantity = "8Gi"
    """Room for the models in a pod."""


class Keda(Values):
    """Scaling by KEDA on the scheduler's backlog."""

    prometheusAddress: str = ""
    """Address of the Prometheus server that knows the scheduler's metrics, such as http://prometheus.monitoring:9090."""
    pollingSeconds: Seconds = 30
    """How often the backlog is looked at."""
    fallbackReplicas: Replicas = 1
    """How many pods there are while Prometheus does not answer or knows no backlog."""
    authentication: Name = ""
    """TriggerAuthentication that KEDA uses at Prometheus; empty for none."""


class Hpa(Values):
    """Scaling by a HorizontalPodAutoscaler."""

    metric: str = Field("atlas_scheduler_backlog_volumes", min_length=1)
    """External metric that follows the backlog, as the cluster's metrics adapter names it."""


class Autoscaling(Values):
    """How the number of GPU pods follows the work."""

    mode: Literal["none", "keda", "hpa", "scheduler"] = "none"
    """"none": `replicas` stays. "keda", "hpa": those scale. "scheduler": the scheduler does, without add-ons."""
    minReplicas: Replicas = 0
    """Fewest pods; 0 lets the GPUs go when there is no work ("hpa" keeps at least one)."""
    maxReplicas: Annotated[Replicas, Field(ge=1)] = 4
    """Most pods."""
    volumesPerPod: Count = 20
    """How many waiting volumes justify one more pod."""
    cooldownSeconds: Annotated[Seconds, Field(le=3600)] = 600
    """How long the backlog must be smaller before pods are let go; Kubernetes' autoscaler takes an hour at most."""
    keda: Keda = Keda()
    """Only for the mode "keda"."""
    hpa: Hpa = Hpa()
    """Only for the mode "hpa"."""


class Triton(Pods):
    """NVIDIA Triton, which runs the networks."""

    replicas: Replicas = 1
    """How many pods run, where nothing scales them."""
    maxUnavailable: Annotated[int, Field(ge=1, le=100)] = 1
    """How many of them an upgrade of nodes may take away at once (PodDisruptionBudget; only where several may run)."""
    image: Image = Image(repository="abdomenatlas/triton")
    """Its image: the vendor's with torch and MONAI added, or the CPU one of this project."""
    resources: Resources = resources("2", "8Gi", "16Gi")
    """CPU and memory of its container, beside the GPU."""
    gpu: Gpu = Gpu()
    """Its GPU."""
    models: Models = Models()
    """Its models."""
    sharedMemory: Quantity = "2Gi"
    """Size of /dev/shm, through which voxels go to the networks' processes; it counts as memory of the container."""
    drainSeconds: Annotated[Seconds, Field(le=3600)] = 300
    """How long requests in flight may go on when a pod ends: longer than a volume takes."""
    startSeconds: Annotated[Seconds, Field(ge=10)] = 600
    """How long loading the models may take before the pod is given up."""
    extraArguments: list[str] = Field(default_factory=list)
    """Further arguments of tritonserver."""
    autoscaling: Autoscaling = Autoscaling()
    """How many pods there are."""

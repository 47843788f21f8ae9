"""Training: Jobs that the scheduler starts."""

from typing import Annotated

from pydantic import Field

from charts.schema.base import Count, Kubernetes, Name, Texts
from charts.schema.pods import Image, Persistence, Pods, Resources, resources
from charts.schema.triton import Gpu


class TrainingImage(Image):
    """Which image the Jobs run."""

    repository: str = ""
    """Repository of the image, below `global.imageRegistry`; Triton's image, tag and digest if empty."""


class TrainingGpu(Gpu):
    """What GPUs a Job gets."""

    enabled: bool = True
    """Whether Jobs ask for GPUs. They do not where they run Triton's image and Triton asks for none."""
    resourceName: str = Field("", pattern=r"^([a-z0-9.-]+/[A-Za-z0-9._-]+)?$")
    """Resource that is asked for; Triton's if empty."""
    count: Annotated[int, Field(ge=1, le=16)] = 1
    """How many of it one Job gets."""
    runtimeClassName: Name = ""
    """Runtime class of the Jobs' pods; Triton's if empty."""


class Training(Pods):
    """Trainings of networks, which the scheduler runs as Jobs; docs/operate.md says how."""

    enabled: bool = False
    """Whether there may be any. The scheduler's account may then make Jobs in its namespace, and so run what it likes
    there."""
    image: TrainingImage = TrainingImage()
    """Image of the Jobs, one that Triton could run."""
    resources: Resources = resources("4", "16Gi", "32Gi")
    """CPU and memory of a Job's container, beside the GPU."""
    nodeSelector: Texts = Field(default_factory=dict)
    """Labels of the nodes that Jobs may run on; Triton's if empty."""
    tolerations: list[Kubernetes] = Field(default_factory=list)
    """Taints of nodes that Jobs put up with; Triton's if empty."""
    gpu: TrainingGpu = TrainingGpu()
    """The GPUs of a Job; with a count above 1, a process trains on each."""
    cache: Persistence = Persistence(size="100Gi")
    """The volume for cases, checkpoints and curves, from which a Job that was cut off goes on; for one node at once,
    unless it is an existing claim of another kind."""
    cacheGiB: Count = 80
    """What the cases may take of that volume; those that were not used for longest go."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 4
    """How often a training is begun or gone on with until it has failed."""
    maxHours: Annotated[int, Field(ge=1, le=720)] = 72
    """How long a training may take with all its attempts."""
    keepHours: Annotated[int, Field(ge=1, le=8760)] = 168
    """How long an ended one is shown before Kubernetes deletes it; what it made stays in storage."""

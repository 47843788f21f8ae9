"""What every component that runs in pods can be told."""

from typing import Annotated

from pydantic import Field

from charts.schema.base import Digest, Kubernetes, Name, Quantity, Replicas, Texts, Values


class Image(Values):
    """Which image a component runs."""

    repository: str = Field(min_length=1)
    """Repository of the image, below `global.imageRegistry`."""
    tag: str = ""
    """Tag; the chart's appVersion by default."""
    digest: Digest = ""
    """Digest, "sha256:..."; it goes before the tag."""


class Resources(Values):
    """What a container asks for and may use."""

    requests: dict[str, Quantity] = Field(default_factory=dict)
    """What the scheduler of Kubernetes sets aside."""
    limits: dict[str, Quantity] = Field(default_factory=dict)
    """What it may use; its memory budget for volumes is half of the memory here."""


def resources(cpu: str, memory: str, limit: str) -> Resources:
    """Requests of CPU and memory, and a limit of memory: a CPU limit would only slow bursts down."""
    return Resources(requests={"cpu": cpu, "memory": memory}, limits={"memory": limit})


class Container(Values):
    """What a container of a component is."""

    image: Image
    """Its image."""
    resources: Resources
    """CPU and memory of its container."""


class Placement(Values):
    """Where pods run."""

    nodeSelector: Texts = Field(default_factory=dict)
    """Labels of the nodes that it may run on."""
    tolerations: list[Kubernetes] = Field(default_factory=list)
    """Taints of nodes that it puts up with."""
    affinity: Kubernetes = Field(default_factory=dict)
    """Further wishes about where it runs, in Kubernetes' own form."""
    priorityClassName: Name = ""
    """Priority class of its pods; one that is there already."""


class Pods(Placement, Container):
    """What the pods of every component can be told."""

    podAnnotations: Texts = Field(default_factory=dict)
    """Further annotations of its pods."""
    podLabels: Texts = Field(default_factory=dict)
    """Further labels of its pods."""


class Replicated(Pods):
    """Pods of which there may be several."""

    replicas: Replicas = 2
    """How many pods run."""
    maxUnavailable: Annotated[int, Field(ge=1, le=100)] = 1
    """How many of them an upgrade of nodes may take away at once (PodDisruptionBudget; only where several may run)."""


class Persistence(Values):
    """A volume for what a component keeps on disk."""

    size: Quantity
    """Size of the volume."""
    storageClass: Name = ""
    """Storage class; the cluster's default if empty."""
    existingClaim: Name = ""
    """A claim that is there already, instead of a new one."""

"""The pods of the chart's evaluation profile: it says how the images are run, so they are tried as it says."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python
import yaml

CHART = Path(__file__).parents[2] / "charts" / "abdomenatlas"
RELEASE, NAMESPACE = "atlas", "trial"
HOST = re.compile(rf"(?:dns:///)?[\w-]+\.{NAMESPACE}\.svc\.cluster\.local")
BEFORE: Mapping[str, tuple[str, ...]] = {
    "migrations-storage": ("evaluation-postgresql",),
    "migrations-scheduler": ("evaluation-postgresql",),
    "storage": ("evaluation-s3", "migrations-storage"),
    "scheduler": ("migrations-scheduler",),
    "test": ("storage", "triton", "inference"),
}
"""What a pod needs before it."""

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod of the chart: its name, such as "storage", and its specification."""

    name: str
    spec: Manifest

    @property
    def containers(self) -> list[Manifest]:
        """All containers, the initial ones first."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def images(self) -> list[str]:
        """Names of ours of the images it runs, such as "storage"."""
        return [image_of(container) for container in self.containers]


def image_of(container: Manifest) -> str:
    """Our name of a container's image: "storage" of "abdomenatlas/storage:0.1.0"."""
    return str(container["image"]).rpartition("/")[2].partition(":")[0]


@dataclass(frozen=True)
class Evaluation:
    """The profile: every pod by name, each after those it needs, and every Secret's texts by its name."""

    pods: dict[str, Pod]
    secrets: dict[str, dict[str, str]]

    @classmethod
    def render(cls) -> "Evaluation":
        """The profile with the addresses of one network, in which every pod is 127.0.0.1."""
        chart = helm_python.Chart.load(CHART)
        values = yaml.safe_load((CHART / "values-evaluation.yaml").read_text())
        texts = chart.render(values, name=RELEASE, namespace=NAMESPACE)
        local = (HOST.sub("127.0.0.1", text) for name, text in sorted(texts.items()) if name.endswith(".yaml"))
        manifests = [manifest for text in local for manifest in yaml.safe_load_all(text) if manifest]
        pods = {pod.name: pod for manifest in manifests for pod in _pods(manifest)}
        secrets = {m["metadata"]["name"]: m["stringData"] for m in manifests if m["kind"] == "Secret"}
        return cls({name: pods[name] for name in _in_order(pods)}, secrets)

    def needed(self, images: set[str]) -> list[Pod]:
        """The pods that run one of the images and those that these need, in the order of their start."""
        wanted = {name for name, pod in self.pods.items() if images & set(pod.images)}
        for name in reversed(self.pods):
            if name in wanted:
                wanted.update(BEFORE.get(name, ()))
        return [pod for name, pod in self.pods.items() if name in wanted]


def _pods(manifest: Manifest) -> list[Pod]:
    if manifest["kind"] not in ("Deployment", "StatefulSet", "Job", "Pod"):
        return []
    name = manifest["metadata"]["name"].removeprefix(f"{RELEASE}-abdomenatlas-")
    spec = manifest["spec"] if manifest["kind"] == "Pod" else manifest["spec"]["template"]["spec"]
    claims = [{"name": c["metadata"]["name"]} for c in manifest["spec"].get("volumeClaimTemplates", [])]
    spec["volumes"] += claims
    if manifest["kind"] == "Job":
        # One container migrates storage's tables, the other the scheduler's: neither needs the other.
        return [Pod(f"{name}-{c['name']}", {**spec, "containers": [c]}) for c in spec["containers"]]
    return [Pod(name, spec)]


def _in_order(pods: Mapping[str, Pod]) -> list[str]:
    found: list[str] = []

    def add(name: str) -> None:
        for before in BEFORE.get(name, ()):
            add(before)
        if name not in found:
            found.append(name)

    for name in sorted(pods):
        add(name)
    return found

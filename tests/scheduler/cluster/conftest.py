"""The chart, installed in a real cluster as far as the scheduler's account and Triton's Deployment go."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kubernetes import client
from kubernetes.dynamic import DynamicClient

from services.scheduler.cluster.api import Api
from tests.charts.rendering import NAMESPACE, manifests, merged, one, profile
from tests.components import kube
from tests.components.require import require

OURS = "atlas-abdomenatlas-scheduler"
TRITON = "atlas-abdomenatlas-triton"
TRAINING = "atlas-abdomenatlas-training"
# Kubernetes refuses pods of a runtime class that nobody has made.
VALUES = {
    "triton": {
        "gpu": {"runtimeClassName": ""},
        "autoscaling": {"mode": "scheduler", "minReplicas": 0, "maxReplicas": 3, "volumesPerPod": 2},
    },
    "training": {"enabled": True, "attempts": 1},
}

INSTALLED = (
    ("ServiceAccount", "-scheduler"),
    ("Role", "-scheduler"),
    ("RoleBinding", "-scheduler"),
    ("Deployment", "-triton"),
    ("ConfigMap", "-training"),
)


@dataclass(frozen=True)
class Site:
    """The cluster, the folder with the scheduler's account, and what the API calls its admin."""

    cluster: kube.Cluster
    account: Path
    environment: dict[str, str]

    def replicas(self) -> int:
        """How many Triton pods are wanted."""
        spec = client.AppsV1Api(self.cluster.admin).read_namespaced_deployment_scale(TRITON, NAMESPACE).spec
        return (spec and spec.replicas) or 0

    def set_replicas(self, replicas: int) -> None:
        """What `kubectl scale` does."""
        apps = client.AppsV1Api(self.cluster.admin)
        apps.patch_namespaced_deployment_scale(TRITON, NAMESPACE, {"spec": {"replicas": replicas}})

    def pods(self) -> list[client.V1Pod]:
        """Triton's pods that are not about to go."""
        core = client.CoreV1Api(self.cluster.admin)
        found = core.list_namespaced_pod(NAMESPACE, label_selector="app.kubernetes.io/component=triton").items
        return [pod for pod in found if pod.metadata and pod.metadata.deletion_timestamp is None]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Yield a cluster in which the chart's own Role, account and Triton are."""
    require(not kube.missing(), f"Kubernetes is missing: {', '.join(kube.missing())}")
    rendered = manifests(merged(profile("production"), VALUES))
    with kube.kube() as cluster:
        core = client.CoreV1Api(cluster.admin)
        core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
        resources = DynamicClient(cluster.admin).resources
        for kind, name in INSTALLED:
            manifest = one(rendered, kind, name)
            resources.get(api_version=manifest["apiVersion"], kind=kind).create(manifest, NAMESPACE)
        account = tmp_path_factory.mktemp("account")
        yield Site(cluster, account, cluster.account(NAMESPACE, OURS, account))


@pytest.fixture
def account(site: Site, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder with the scheduler's account, in the environment of its pod."""
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    return site.account


@pytest.fixture
def api(account: Path) -> Iterator[Api]:
    """Yield the API as the scheduler's pod has it."""
    api = Api(account)
    yield api
    api.close()

"""The chart installed on a real API server by the Helm 3 program, as far as the server's version lets it.

kube-apiserver is older than what the chart asks for (see tests/components/kube.py). A copy of the chart leaves out what
that version does not know: `kubeVersion`, the kinds PodDisruptionBudget and HorizontalPodAutoscaler in their later API
versions, and gRPC probes, in whose place stand TCP ones. Values leave out what would need an add-on's kinds.
"""

import base64
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from tests.charts import tools
from tests.charts.rendering import CHART, RELEASE, Values, merged
from tests.components.kube import Cluster
from tests.components.processes import wait_until

TOO_NEW = ("poddisruptionbudget.yaml", "horizontalpodautoscaler.yaml")
CERTIFICATES = ("storage", "inference", "uncertainty", "merging", "scheduler", "triton")
WITHOUT_ADD_ONS: Values = {
    "triton": {"autoscaling": {"mode": "scheduler"}},
    "expose": {"gateway": {"enabled": False}},
    "metrics": {"serviceMonitor": {"enabled": False}, "alerts": {"enabled": False}},
}
SECRETS: dict[str, tuple[str, ...]] = {
    "atlas-catalog": ("url",),
    "atlas-scheduler": ("url",),
    "atlas-s3": ("access-key", "secret-key"),
    "atlas-metrics": ("token",),
    "atlas-operator-token": ("token",),
    **{f"cert-{name}": ("tls.crt", "tls.key", "ca.crt") for name in CERTIFICATES},
}
"""What docs/install.md has the hospital make."""


def without_add_ons(values: Values) -> Values:
    """The same installation without cert-manager, KEDA, a Gateway and Prometheus' operator."""
    values = merged(values, WITHOUT_ADD_ONS)
    if values.get("insecure"):
        return values
    existing = {name: f"cert-{name}" for name in CERTIFICATES}
    return merged(values, {"tls": {"mode": "existing", "existingSecrets": existing}})


def chart(folder: Path, version: str = "") -> Path:
    """A copy of the chart for the server's version, under a version of its own if one is given."""
    copy = folder / f"chart-{version or 'now'}"
    shutil.copytree(CHART, copy)
    about = yaml.safe_load((copy / "Chart.yaml").read_text())
    del about["kubeVersion"]
    (copy / "Chart.yaml").write_text(
        yaml.safe_dump({**about, **({"version": version, "appVersion": version} if version else {})})
    )
    for path in (copy / "templates").rglob("*"):
        if path.name in TOO_NEW:
            path.unlink()
        elif path.is_file():
            path.write_text(re.sub(r"\bgrpc: \{port: ", "tcpSocket: {port: ", path.read_text()))
    return copy


@dataclass(frozen=True)
class Installation:
    """A namespace with the hospital's Secrets, into which Helm installs a release."""

    cluster: Cluster
    namespace: str
    home: Path

    @classmethod
    def in_namespace(cls, cluster: Cluster, namespace: str, home: Path) -> "Installation":
        """Make the namespace and its Secrets."""
        core = client.CoreV1Api(cluster.admin)
        core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=namespace)))
        made = cls(cluster, namespace, home)
        for name, keys in SECRETS.items():
            secret = client.V1Secret(
                metadata=client.V1ObjectMeta(name=name), data=_encoded(dict.fromkeys(keys, "given"))
            )
            core.create_namespaced_secret(namespace, secret)
        return made

    def fill(self, secret: str, contents: Mapping[str, str]) -> None:
        """Change keys of a Secret."""
        core = client.CoreV1Api(self.cluster.admin)
        core.patch_namespaced_secret(secret, self.namespace, {"data": _encoded(contents)})

    def helm(self, verb: str, chart_folder: Path, values: Values) -> subprocess.CompletedProcess[str]:
        """What `helm install` or `helm upgrade` says."""
        file = self.home / f"{self.namespace}-values.yaml"
        file.write_text(yaml.safe_dump(values))
        return self._helm(verb, RELEASE, str(chart_folder), "-f", str(file), "--disable-openapi-validation")

    def roll_back(self, revision: int) -> subprocess.CompletedProcess[str]:
        """What `helm rollback` says; the installation is revision 1."""
        return self._helm("rollback", RELEASE, str(revision))

    def _helm(self, *words: str) -> subprocess.CompletedProcess[str]:
        where = ["--namespace", self.namespace, "--kubeconfig", str(self.cluster.kubeconfig), "--timeout", "300s"]
        command = [tools.find(tools.HELM_3), *words, *where]
        folders = {f"HELM_{name}_HOME": str(self.home / "helm") for name in ("CACHE", "CONFIG", "DATA")}
        with subprocess.Popen(
            command,
            env={**os.environ, **folders},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            wait_until(lambda: self._has_ended(process), f"helm {words[0]}", 330)
            out, err = process.communicate(timeout=10)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def workloads(self) -> dict[str, Any]:
        """Every Deployment and StatefulSet, by the component's name."""
        apps = client.AppsV1Api(self.cluster.admin)
        found: list[Any] = [
            *apps.list_namespaced_deployment(self.namespace).items,
            *apps.list_namespaced_stateful_set(self.namespace).items,
        ]
        return {each.metadata.labels["app.kubernetes.io/component"]: each for each in found}

    def _has_ended(self, helm: subprocess.Popen[str]) -> bool:
        """Whether Helm has. It waits for the pods of a hook, and there is no kubelet to say that they ended well."""
        core = client.CoreV1Api(self.cluster.admin)
        labels = "app.kubernetes.io/component=migrations"
        pods: list[Any] = core.list_namespaced_pod(self.namespace, label_selector=labels).items
        for pod in (pod for pod in pods if pod.status.phase != "Succeeded"):
            core.patch_namespaced_pod_status(pod.metadata.name, self.namespace, {"status": {"phase": "Succeeded"}})
        return helm.poll() is not None


def _encoded(contents: Mapping[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(text.encode()).decode() for key, text in contents.items()}

"""The one module that knows the client of Kubernetes. Objects are plain dicts, as manifests write them.

Errors are `AtlasError`.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, watch
from kubernetes.config import ConfigException
from kubernetes.config.incluster_config import InClusterConfigLoader

from services.core.errors import AtlasError, Reason

# Seconds to connect and to wait for an answer: an API server that hangs must not hold up the loop that asks it.
_TIMEOUT = (5, 15)
_REASONS = {
    400: (Reason.FIELD_INVALID, "Is this object one that this version of Kubernetes knows?"),
    401: (Reason.UNAUTHENTICATED, "Is the token of the service account mounted, and not expired?"),
    403: (Reason.PERMISSION_DENIED, "Is the chart's Role there, and bound to this service account?"),
    404: (Reason.RESOURCE_NOT_FOUND, "Is it in this namespace, under this name?"),
    409: (Reason.RESOURCE_CONFLICT, "It is there already."),
    422: (Reason.FIELD_INVALID, "Is this object one that this version of Kubernetes knows?"),
}


Manifest = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """How many pods a Deployment shall have, and the version of that wish."""

    pods: int
    version: str


class Api:
    """The API server of the cluster that this process runs in, as its pod's service account.

    `account` is the folder with token, ca.crt and namespace. The token is read anew as it is renewed. Raises
    DEPENDENCY_UNAVAILABLE outside a cluster.
    """

    def __init__(self, account: Path) -> None:
        configuration = client.Configuration(retries=1)
        try:
            InClusterConfigLoader(str(account / "token"), str(account / "ca.crt")).load_and_set(configuration)
            self.namespace = (account / "namespace").read_text().strip()
        except (ConfigException, OSError) as error:
            raise AtlasError(
                Reason.DEPENDENCY_UNAVAILABLE,
                f"There is no service account of Kubernetes here: {error}",
                field="cluster_account",
                remedy="Run in a pod whose token is mounted, or leave cluster_deployment and cluster_training empty.",
            ) from error
        self._client = client.ApiClient(configuration)
        self._apps = client.AppsV1Api(self._client)
        self._batch = client.BatchV1Api(self._client)
        self._core = client.CoreV1Api(self._client)

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def scale(self, deployment: str) -> Scale:
        """How many pods the Deployment shall have now."""
        with _asking(deployment):
            found = self._apps.read_namespaced_deployment_scale(deployment, self.namespace, _request_timeout=_TIMEOUT)
        # The API leaves a 0 out.
        return Scale(
            (found.spec and found.spec.replicas) or 0, (found.metadata and found.metadata.resource_version) or ""
        )

    def rescale(self, deployment: str, seen: Scale, pods: int) -> None:
        """Have `pods` of the Deployment, if nobody changed its scale since. Raises ETAG_MISMATCH if somebody did."""
        scale = client.V1Scale(
            metadata=client.V1ObjectMeta(name=deployment, namespace=self.namespace, resource_version=seen.version),
            spec=client.V1ScaleSpec(replicas=pods),
        )
        with _asking(deployment):
            self._apps.replace_namespaced_deployment_scale(deployment, self.namespace, scale, _request_timeout=_TIMEOUT)

    def config_map(self, name: str) -> Manifest:
        """A ConfigMap."""
        with _asking(name):
            return self._plain(self._core.read_namespaced_config_map(name, self.namespace, _request_timeout=_TIMEOUT))

    def create_job(self, job: Manifest) -> Manifest:
        """The Job as it is then. Raises RESOURCE_CONFLICT if there is one of its name."""
        body = client.V1Job.model_validate(job)
        with _asking(job["metadata"]["name"]):
            return self._plain(self._batch.create_namespaced_job(self.namespace, body, _request_timeout=_TIMEOUT))

    def job(self, name: str) -> Manifest:
        """A Job."""
        with _asking(name):
            return self._plain(self._batch.read_namespaced_job(name, self.namespace, _request_timeout=_TIMEOUT))

    def jobs(self, labels: Mapping[str, str]) -> list[Manifest]:
        """The Jobs with these labels."""
        with _asking("jobs"):
            found = self._batch.list_namespaced_job(
                self.namespace, label_selector=_selector(labels), _request_timeout=_TIMEOUT
            )
            return [self._plain(job) for job in found.items]

    def delete_job(self, name: str, uid: str | None = None) -> None:
        """Delete a Job, then its pods. Raises ETAG_MISMATCH if it is not the one with this uid."""
        only = client.V1DeleteOptions(
            propagation_policy="Background", preconditions=client.V1Preconditions(uid=uid) if uid else None
        )
        with _asking(name):
            self._batch.delete_namespaced_job(name, self.namespace, body=only, _request_timeout=_TIMEOUT)

    def pods(self, labels: Mapping[str, str]) -> list[Manifest]:
        """The pods with these labels."""
        with _asking("pods"):
            found = self._core.list_namespaced_pod(
                self.namespace, label_selector=_selector(labels), _request_timeout=_TIMEOUT
            )
            return [self._plain(pod) for pod in found.items]

    def wait_for_pods(self, labels: Mapping[str, str], seconds: int) -> None:
        """Return when a pod with these labels comes, changes or goes, or after `seconds`."""
        with _asking("pods"):
            found = self._core.list_namespaced_pod(
                self.namespace, label_selector=_selector(labels), _request_timeout=_TIMEOUT
            )
            events = watch.Watch().stream(
                self._core.list_namespaced_pod,
                self.namespace,
                label_selector=_selector(labels),
                resource_version=found.metadata and found.metadata.resource_version,
                timeout_seconds=seconds,
                _request_timeout=(_TIMEOUT[0], seconds + _TIMEOUT[1]),
            )
            for _ in events:
                return

    def _plain(self, found: Any) -> Manifest:
        plain: Manifest = self._client.sanitize_for_serialization(found)
        return plain


def _selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())


@contextmanager
def _asking(subject: str) -> Iterator[None]:
    try:
        yield
    except client.ApiException as error:
        raise _refusal(error, subject) from None
    except urllib3.exceptions.HTTPError as error:
        message = f"The API server of Kubernetes does not answer: {type(error).__name__}"
        raise AtlasError(
            Reason.DEPENDENCY_UNAVAILABLE, message, field=subject, remedy="Does a NetworkPolicy let this pod reach it?"
        ) from None


def _refusal(error: client.ApiException, subject: str) -> AtlasError:
    try:
        body = json.loads(error.body or "{}")
    except ValueError:
        body = {}
    reason, remedy = _REASONS.get(error.status or 0, (Reason.DEPENDENCY_UNAVAILABLE, "It is asked again."))
    if body.get("reason") == "Conflict":
        reason, remedy = Reason.ETAG_MISMATCH, "Look again: somebody changed it since."
    message = f"Kubernetes refused ({error.status}): {body.get('message', error.reason)}"
    return AtlasError(reason, message, field=subject, remedy=remedy)

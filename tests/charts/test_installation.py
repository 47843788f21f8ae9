"""Installed and upgraded by Helm on a real kube-apiserver, which refuses what it cannot change."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from tests.charts.installation import SECRETS, Installation, chart, without_add_ons
from tests.charts.rendering import Values, merged, profile
from tests.charts.test_upgrade import RELEASED
from tests.components import kube
from tests.components.kube import Cluster
from tests.components.require import require

EARLIER = "0.0.9"
"""There is no released chart yet: what is upgraded is this chart under an earlier number, with the released values."""
CHECKSUM = "checksum/secrets"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    require(not kube.missing(), "; ".join(kube.missing()))
    with kube.kube() as running:
        yield running


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_an_installation_is_upgraded_in_place(cluster: Cluster, path: Path, tmp_path: Path) -> None:
    """Nothing is refused as immutable or made anew, pods get the new version, and a scaled Triton stays as it is."""
    values = without_add_ons(yaml.safe_load(path.read_text()))
    here = Installation.in_namespace(cluster, path.stem.replace(".", "-"), tmp_path)
    done = here.helm("install", chart(tmp_path, EARLIER), values)
    assert done.returncode == 0, done.stderr
    before = here.workloads()
    assert before["triton"].spec.replicas == 1
    apps = client.AppsV1Api(cluster.admin)
    apps.patch_namespaced_deployment_scale(before["triton"].metadata.name, here.namespace, {"spec": {"replicas": 3}})
    changed: Values = {"storage": {"drainSeconds": 77}, "commonLabels": {"ward": "7"}}
    done = here.helm("upgrade", chart(tmp_path), merged(values, changed))
    assert done.returncode == 0, done.stderr
    after = here.workloads()
    assert {name: each.metadata.uid for name, each in after.items()} == {
        name: each.metadata.uid for name, each in before.items()
    }
    assert after["storage"].spec.template.spec.termination_grace_period_seconds == 97
    for name, each in after.items():
        images = {c.image for c in each.spec.template.spec.containers}
        assert not any(image.endswith(EARLIER) for image in images), name
    assert after["triton"].spec.replicas == 3


def test_a_job_that_migrates_finds_the_way_to_the_database_open(cluster: Cluster, tmp_path: Path) -> None:
    """Where the version before had none, or PostgreSQL was somewhere else."""
    values, here = without_add_ons(profile("production")), Installation.in_namespace(cluster, "moved", tmp_path)
    copy = chart(tmp_path)
    done = here.helm("install", copy, merged(values, {"migrations": {"enabled": False}}))
    assert done.returncode == 0, done.stderr
    assert not _policies_of_migrations(here)
    for cidr in ("10.20.0.10/32", "10.20.0.99/32"):
        moved = {"networkPolicy": {"postgresql": {"to": [{"ipBlock": {"cidr": cidr}}]}}}
        done = here.helm("upgrade", copy, merged(values, moved))
        assert done.returncode == 0, done.stderr
        (policy,) = _policies_of_migrations(here)
        assert cidr in str(policy.spec.egress)
        # The server counts all changes together, and what the Job did outlives it as events.
        begun = "involvedObject.kind=Job,reason=SuccessfulCreate"
        core: Any = client.CoreV1Api(cluster.admin)
        events = core.list_namespaced_event(here.namespace, field_selector=begun).items
        assert int(policy.metadata.resource_version) < max(int(event.metadata.resource_version) for event in events)


def test_an_upgrade_is_rolled_back_to_a_chart_whose_policy_of_migrations_was_no_hook(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Helm owns no hook, so it puts no object of its own in the place of one."""
    values, here = without_add_ons(profile("production")), Installation.in_namespace(cluster, "back", tmp_path)
    earlier, now = chart(tmp_path, EARLIER), chart(tmp_path)
    policy = earlier / "templates" / "migrations" / "networkpolicy.yaml"
    metadata = re.compile(r'^\{\{ include "abdomenatlas.metadata" .*$', re.MULTILINE)
    policy.write_text(metadata.sub('{{ include "abdomenatlas.metadata" $it }}', policy.read_text()))
    done = here.helm("install", earlier, values)
    assert done.returncode == 0, done.stderr
    before = _names_and_specs(_policies_of_migrations(here))
    for _ in range(2):
        done = here.helm("upgrade", now, values)
        assert done.returncode == 0, done.stderr
    done = here.roll_back(1)
    assert done.returncode == 0, done.stderr
    assert before.items() <= _names_and_specs(_policies_of_migrations(here)).items()


def test_pods_restart_when_a_secret_that_they_read_at_the_start_changed(cluster: Cluster, tmp_path: Path) -> None:
    values, here = without_add_ons(profile("production")), Installation.in_namespace(cluster, "secrets", tmp_path)
    copy = chart(tmp_path)
    done = here.helm("install", copy, values)
    assert done.returncode == 0, done.stderr
    before = {name: _checksum(each) for name, each in here.workloads().items()}
    done = here.helm("upgrade", copy, values)
    assert done.returncode == 0, done.stderr
    assert {name: _checksum(each) for name, each in here.workloads().items()} == before
    here.fill("atlas-catalog", {"url": "postgresql+psycopg://another"})
    done = here.helm("upgrade", copy, values)
    assert done.returncode == 0, done.stderr
    after = {name: _checksum(each) for name, each in here.workloads().items()}
    assert {name for name in after if after[name] != before[name]} == {"storage"}


def test_secrets_that_hold_nothing_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    """All at once, by the value that names them; and one that is not there yet is waited for by its pods."""
    values, here = without_add_ons(profile("production")), Installation.in_namespace(cluster, "empty", tmp_path)
    for secret, keys in SECRETS.items():
        here.fill(secret, dict.fromkeys(keys, "\n"))
    copy = chart(tmp_path)
    refused = here.helm("install", copy, values)
    assert refused.returncode != 0
    assert "This cannot be installed" in refused.stderr
    named = {
        "storage.database.existingSecret": "atlas-catalog",
        "scheduler.database.existingSecret": "atlas-scheduler",
        "s3.existingSecret": "atlas-s3",
        "metrics.token": "atlas-metrics",
        "test.token": "atlas-operator-token",
        "tls.existingSecrets.triton": "cert-triton",
    }
    for value, secret in named.items():
        for key in SECRETS[secret]:
            assert f"- {value}: the Secret {secret} holds nothing under {key}: fill it" in refused.stderr
    assert refused.stderr.count("holds nothing") == sum(map(len, SECRETS.values()))
    assert here.workloads() == {}

    for secret, keys in SECRETS.items():
        here.fill(secret, dict.fromkeys(keys, "given"))
    misnamed = {"s3": {"existingSecret": {"secretKey": "secret_key"}}}
    refused = here.helm("install", copy, merged(values, misnamed))
    assert refused.returncode != 0
    assert refused.stderr.count("holds nothing") == 1
    assert "the Secret atlas-s3 holds nothing under secret_key" in refused.stderr
    client.CoreV1Api(cluster.admin).delete_namespaced_secret("atlas-metrics", here.namespace)
    done = here.helm("install", copy, values)
    assert done.returncode == 0, done.stderr


def _policies_of_migrations(here: Installation) -> list[Any]:
    labels = "app.kubernetes.io/component=migrations"
    networking: Any = client.NetworkingV1Api(here.cluster.admin)
    return list(networking.list_namespaced_network_policy(here.namespace, label_selector=labels).items)


def _names_and_specs(policies: list[Any]) -> dict[str, Any]:
    return {policy.metadata.name: policy.spec for policy in policies}


def _checksum(workload: object) -> str | None:
    """Of pods that read secrets at their start; others, such as Triton's, have none."""
    annotations: dict[str, str] | None = workload.spec.template.metadata.annotations  # type: ignore[attr-defined]
    return (annotations or {}).get(CHECKSUM)

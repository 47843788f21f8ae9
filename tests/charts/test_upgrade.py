"""An installation of an earlier version takes this chart with the values that it has."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.rendering import Manifest, containers, manifests, one, pods, profile, texts

RELEASED = sorted((Path(__file__).parent / "released").glob("*.yaml"))
IMMUTABLE = {
    "0.1.0": {
        "Deployment": ["storage", "inference", "uncertainty", "merging", "triton"],
        "StatefulSet": ["scheduler"],
    }
}
"""Names of what earlier charts made and Kubernetes cannot change: an upgrade must find them again."""


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_values_of_earlier_versions_are_taken(path: Path) -> None:
    found = manifests(yaml.safe_load(path.read_text()))
    version = path.stem.split("-")[0]
    for kind, components in IMMUTABLE[version].items():
        for component in components:
            spec = one(found, kind, f"atlas-abdomenatlas-{component}")["spec"]
            # Kubernetes refuses to change a selector; a new one would make every upgrade a new installation.
            assert spec["selector"] == {
                "matchLabels": {
                    "app.kubernetes.io/name": "abdomenatlas",
                    "app.kubernetes.io/instance": "atlas",
                    "app.kubernetes.io/component": component,
                }
            }
            assert kind == "Deployment" or spec["serviceName"] == f"atlas-abdomenatlas-{component}"
    claims = {m["metadata"]["name"] for m in found if m["kind"] == "PersistentVolumeClaim"}
    expected = {"atlas-abdomenatlas-storage", "atlas-abdomenatlas-scheduler"} if "smallest" in path.stem else set()
    assert claims == expected


def test_tables_are_migrated_before_the_new_pods_start_and_with_the_new_images() -> None:
    found = manifests(profile("production"))
    job = one(found, "Job", "-migrations")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"
    new = {c["image"] for pod in pods(found).values() for c in containers(pod)}
    commands: dict[str, Any] = {c["name"]: c for c in job["spec"]["template"]["spec"]["containers"]}
    for service, container in commands.items():
        assert container["args"] == ["python", "-m", f"services.{service}", "migrate"]
        assert container["image"] in new
    assert commands.keys() == {"storage", "scheduler"}


def test_the_way_to_the_database_is_open_before_the_tables_are_migrated() -> None:
    """Ordinary objects come after the hooks: when the Job runs, they are still those of the version before."""
    found = manifests(profile("production"))
    job, policy = one(found, "Job", "-migrations"), one(found, "NetworkPolicy", "-migrations-hook")
    assert _event_and_weight(policy)[0] == _event_and_weight(job)[0] == "pre-upgrade"
    assert _event_and_weight(policy)[1] < _event_and_weight(job)[1]
    # Some tools delete what has succeeded at once, which a policy always has.
    assert policy["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation"


def _event_and_weight(hook: Manifest) -> tuple[str, int]:
    annotations = hook["metadata"]["annotations"]
    return annotations["helm.sh/hook"], int(annotations["helm.sh/hook-weight"])


def test_a_volume_s_data_outlives_an_uninstall() -> None:
    claims = [m for m in manifests(profile("smallest")) if m["kind"] == "PersistentVolumeClaim"]
    assert claims
    assert all(claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for claim in claims)


def test_an_upgrade_leaves_the_number_of_scaled_pods_alone() -> None:
    triton: Manifest = one(manifests(profile("production")), "Deployment", "-triton")
    assert "replicas" not in triton["spec"]


def test_notes_are_a_check_list_with_commands() -> None:
    for name in ("production", "evaluation"):
        notes = texts(profile(name))["NOTES.txt"]
        assert notes.count("[ ]") >= 4
        assert "helm -n imaging test atlas --logs" in notes
        assert ("INSECURE" in notes) == (name == "evaluation")

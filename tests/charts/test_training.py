"""The Job of a training: a template in a ConfigMap, which no other test of the chart looks into."""

import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.charts.rendering import PROFILES, Manifest, containers, manifests, merged, one, profile
from tests.charts.test_profiles import VERSIONS

ENABLED = {"training": {"enabled": True}}


def _job(name: str) -> Manifest:
    found = one(manifests(merged(profile(name), ENABLED)), "ConfigMap", "-training")
    job: Manifest = yaml.safe_load(found["data"]["job.yaml"])
    return job


@pytest.mark.parametrize("name", PROFILES)
def test_every_supported_kubernetes_takes_it(name: str) -> None:
    job = _job(name)
    job["metadata"]["name"] = "training"
    for version in VERSIONS:
        kubernetes_validate.validate(job, version, strict=True)


@pytest.mark.parametrize("name", PROFILES)
def test_it_meets_the_restricted_standard_and_has_no_token(name: str) -> None:
    spec = _job(name)["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    mounted = {volume["name"] for volume in spec["volumes"]}
    for container in containers({"spec": spec}):
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["resources"]["limits"]["memory"]
        assert {mount["name"] for mount in container["volumeMounts"]} <= mounted


def test_there_is_nothing_of_it_unless_it_is_wanted() -> None:
    assert not [m for m in manifests(profile("production")) if m["metadata"]["name"].endswith("-training")]


@pytest.mark.parametrize(
    ("scaling", "training", "resources"),
    [
        ("scheduler", False, [["deployments/scale"]]),
        ("keda", True, [["configmaps"], ["jobs"], ["pods"]]),
        ("scheduler", True, [["deployments/scale"], ["configmaps"], ["jobs"], ["pods"]]),
    ],
)
def test_the_scheduler_s_role_grows_only_with_what_is_on(
    scaling: str, training: bool, resources: list[list[str]]
) -> None:
    values = {"triton": {"autoscaling": {"mode": scaling}}, "training": {"enabled": training}}
    role = one(manifests(merged(profile("production"), values)), "Role", "-scheduler")
    assert [rule["resources"] for rule in role["rules"]] == resources


def test_trainings_reach_storage_and_nothing_else() -> None:
    everything = manifests(merged(profile("production"), ENABLED))
    policy = one(everything, "NetworkPolicy", "-training")["spec"]
    assert "ingress" not in policy
    selected = [
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for rule in policy["egress"]
        for peer in rule["to"]
        if "podSelector" in peer
    ]
    assert selected == ["storage"]
    callers = [
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for rule in one(everything, "NetworkPolicy", "-storage")["spec"]["ingress"]
        for peer in rule["from"]
        if "podSelector" in peer
    ]
    assert "training" in callers


@pytest.mark.parametrize(("code", "left"), [(0, '{"version": 2}\n{"sha256": "ab"}\n'), (3, None)])
def test_its_command_leaves_what_came_of_training_and_storing(code: int, left: str | None, tmp_path: Path) -> None:
    """Run with a stand-in for Python: the message is what the scheduler reads; a failure is not hidden by the pipe."""
    (container,) = _job("production")["spec"]["template"]["spec"]["containers"]
    python = tmp_path / "python3"
    python.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/calls
case "$2" in
*training) echo "epoch 1"; echo \'{{"version": 2}}\'; exit {code};;
*store) echo \'{{"sha256": "ab"}}\';;
esac
"""
    )
    python.chmod(0o755)
    message = tmp_path / "message"
    command = [
        argument.replace("/dev/termination-log", str(message)).replace("/tmp/training.log", str(tmp_path / "log"))
        for argument in container["command"]
    ]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run([*command, "tune", "/repository/unet"], env=environment, capture_output=True, check=False)
    assert done.returncode == code
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0] == "-m services.serving.training tune /repository/unet --promote --cache /cache --cache-gib 80"
    assert calls[1:] == ([] if code else ["-m services.serving.store /repository/unet"])
    assert (message.read_text() if message.exists() else None) == left

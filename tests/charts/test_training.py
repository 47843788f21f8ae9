"""The Job of a training: a template in a ConfigMap, which no other test of the chart looks into."""

import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.charts.rendering import PROFILES, Manifest, Values, containers, manifests, merged, one, pod_of, profile
from tests.charts.test_profiles import VERSIONS

ENABLED = {"training": {"enabled": True}}


def _job(name: str, **training: Any) -> Manifest:
    return _job_of(merged(profile(name), {"training": training}))


def _job_of(values: Values) -> Manifest:
    found = one(manifests(merged(values, ENABLED)), "ConfigMap", "-training")
    job: Manifest = yaml.safe_load(found["data"]["job.yaml"])
    return job


def _gpus(job: Manifest) -> dict[str, str]:
    limits = job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    return {name: count for name, count in limits.items() if "/" in name}


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("name", PROFILES)
def test_every_supported_kubernetes_takes_it(name: str, count: int) -> None:
    job = _job(name, gpu={"count": count})
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


def test_it_runs_on_and_where_triton_does() -> None:
    """Nobody says twice where the GPUs are; a Job with the CPU image would wait for a GPU that it cannot use."""
    triton = pod_of(manifests(profile("production")), "triton")["spec"]
    job = _job("production")["spec"]["template"]["spec"]
    assert job["containers"][0]["image"] == triton["containers"][0]["image"] == "abdomenatlas/triton-gpu:0.1.0"
    for field in ("runtimeClassName", "nodeSelector", "tolerations"):
        assert job[field] == triton[field]
    slices = merged(profile("production"), {"triton": {"gpu": {"resourceName": "nvidia.com/mig-2g.20gb"}}})
    assert _gpus(_job_of(slices)) == {"nvidia.com/mig-2g.20gb": "1"}
    assert _gpus(_job("production-cpu")) == {}
    assert "runtimeClassName" not in _job("production-cpu")["spec"]["template"]["spec"]


def test_it_may_run_on_other_nodes_with_another_image() -> None:
    """Here on GPUs in an installation whose networks are served from CPUs."""
    own = {
        "image": {"repository": "own/training", "tag": "3"},
        "gpu": {"resourceName": "amd.com/gpu", "runtimeClassName": "rocm"},
        "nodeSelector": {"pool": "training"},
        "tolerations": [{"key": "training", "operator": "Exists"}],
    }
    job = _job("production-cpu", **own)
    spec = job["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == "own/training:3"
    assert _gpus(job) == {"amd.com/gpu": "1"}
    assert spec["runtimeClassName"] == "rocm"
    assert spec["nodeSelector"] == own["nodeSelector"]
    assert spec["tolerations"] == own["tolerations"]


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


TORCHRUN = "-m torch.distributed.run --standalone --local-addr=localhost --nproc-per-node=4 "


@pytest.mark.parametrize(
    ("gpu", "start", "code", "left"),
    [
        ({}, "", 0, '{"version": 2}\n{"sha256": "ab"}\n'),
        ({}, "", 3, None),
        ({"count": 4}, TORCHRUN, 0, '{"version": 2}\n{"sha256": "ab"}\n'),
        ({"count": 4}, TORCHRUN, 3, None),
        ({"count": 4, "enabled": False}, "", 0, '{"version": 2}\n{"sha256": "ab"}\n'),
    ],
)
def test_its_command_leaves_what_came_of_training_and_storing(
    gpu: dict[str, Any], start: str, code: int, left: str | None, tmp_path: Path
) -> None:
    """Run with a stand-in for Python: it starts a process on each GPU that it asks for; the message is what the
    scheduler reads; a failure is not hidden by the pipe."""
    (container,) = _job("production", gpu=gpu)["spec"]["template"]["spec"]["containers"]
    asked = container["resources"]["limits"].get("nvidia.com/gpu", "0")
    assert asked == ("0" if gpu.get("enabled") is False else str(gpu.get("count", 1)))
    python = tmp_path / "python3"
    python.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/calls
case "$*" in
*services.serving.training*) echo "epoch 1"; echo \'{{"version": 2}}\'; exit {code};;
*services.serving.store*) echo \'{{"sha256": "ab"}}\';;
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
    options = "--promote --cache /cache --cache-gib 80"
    assert calls[0] == f"{start}-m services.serving.training tune /repository/unet {options}"
    assert calls[1:] == ([] if code else ["-m services.serving.store /repository/unet"])
    assert (message.read_text() if message.exists() else None) == left

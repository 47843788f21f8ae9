"""Triton's pod as this machine can run it: with the wheel's tritonserver in place of the image's."""

import contextlib
import copy
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from services.cli.stack.triton import TritonServer, _own_backends, _wheel
from services.serving.digest import folder_digest
from tests.charts.kubelet import Container, Node, run_to_end, running_pod
from tests.charts.rendering import CHART, Manifest, Values, containers, merged, pod_of, profile
from tests.components import triton as components
from tests.components.require import require


def smallest(tmp_path: Path, models: list[Path], of: str = "evaluation") -> Values:
    """A profile without PostgreSQL and S3, with what differs between the image of Triton and this machine's wheel.

    `models` are what the image holds: they are copied to `tmp_path / "image"`.
    """
    require(components.is_installed(), "nvidia-pytriton is not installed: make setup")
    arguments = [
        f"--backend-directory={_own_backends(_wheel(), tmp_path)}",
        f"--backend-config=python,shm-region-prefix-name=atlas-chart-{os.getpid()}-",
    ]
    triton: Values = {"extraArguments": arguments}
    if models:
        triton["models"] = {"load": [{"name": model.name, "sha256": folder_digest(model)} for model in models]}
        for model in models:
            shutil.copytree(model, tmp_path / "image" / model.name)
    values = merged(profile(of), yaml.safe_load((CHART / "values-smallest.yaml").read_text()))
    return merged(values, {"evaluation": {"enabled": False}, "triton": triton})


@contextlib.contextmanager
def triton_pod(node: Node, everything: list[Manifest]) -> Iterator[Container]:
    """The pod of Triton, after its init container has fetched the models."""
    pod = copy.deepcopy(pod_of(everything, "triton"))
    node.folders["/tmp/certificate-at-start"] = node.home / "certificate-at-start"
    (fetch, _) = containers(pod)
    done = run_to_end(node, fetch)
    assert done.returncode == 0, done.stderr
    image = TritonServer(node.home / "data", node.home, log_path=node.home / "triton.log")._environment(_wheel())
    image["PATH"] = os.pathsep.join((str(_wheel() / "bin"), image["PATH"]))
    del pod["spec"]["initContainers"]
    with running_pod(node, pod, image) as server:
        yield server

"""What a kubelet does with a container, done to a process of this machine: environment, probes, hook and end."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.charts.rendering import Manifest
from tests.components.processes import free_port, running, wait_until

ENTRYPOINT = Path(__file__).parents[2] / "images" / "atlas-start"


@dataclass
class Node:
    """This machine as a node: where a port or a folder of a pod really is."""

    home: Path
    ports: dict[tuple[str, str], int] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)

    def port(self, component: str, given: int | str) -> int:
        """The free port that stands for one of a component's pod."""
        return self.ports.setdefault((component, str(given)), free_port())

    def local(self, text: str) -> str:
        """An argument or a variable with the addresses and folders of this machine."""
        for inside, outside in self.folders.items():
            text = text.replace(inside, str(outside))
        if text.startswith("dns:///"):
            host, _, port = text.removeprefix("dns:///").partition(":")
            return f"127.0.0.1:{self.port(host.split('.')[0].rpartition('-')[2], port)}"
        host, dot, port = text.partition(".imaging.svc.cluster.local:")
        if dot:
            return f"127.0.0.1:{self.port(host.rpartition('-')[2], port)}"
        return text.replace("0.0.0.0", "127.0.0.1")


class Container:
    """A container of the chart that runs as a process."""

    def __init__(self, node: Node, pod: Manifest, process: subprocess.Popen[bytes], environment: Mapping[str, str]):
        self.node, self.pod, self.process, self.environment = node, pod, process, environment
        (self.manifest,) = pod["spec"]["containers"]

    def is_well(self, probe: str) -> bool:
        """What the probe that is named so says."""
        if "exec" in self.manifest[probe]:
            command = [self._inside(argument) for argument in self.manifest[probe]["exec"]["command"]]
            done = subprocess.run(command, env=dict(self.environment), capture_output=True, check=False)
            return done.returncode == 0
        port = self.manifest[probe]["grpc"]["port"]
        with grpc.insecure_channel(f"127.0.0.1:{self.node.port(self.manifest['name'], port)}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            try:
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
            except grpc.RpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def _inside(self, argument: str) -> str:
        """An argument in which folders and addresses inside the pod are those of this machine."""
        before, loopback, after = self.node.local(argument).partition("127.0.0.1:")
        port = "".join(takewhile(str.isdigit, after))
        return (
            before + loopback + (f"{self.node.port(self.manifest['name'], port)}{after[len(port) :]}" if port else "")
        )

    def wait_started(self) -> None:
        """Wait as long as the startup probe would."""
        probe = self.manifest["startupProbe"]
        seconds = probe["periodSeconds"] * probe["failureThreshold"]
        wait_until(lambda: self.is_well("startupProbe") or self.process.poll() is not None, "the container", seconds)
        assert self.process.poll() is None, "the container ended"

    def pre_stop(self) -> None:
        """Run the hook, which must end well and leave time for the rest."""
        command = self.manifest["lifecycle"]["preStop"]["exec"]["command"]
        subprocess.run(command, env=dict(self.environment), check=True, timeout=self.grace_seconds)

    def terminate(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    @property
    def grace_seconds(self) -> float:
        """What there is between the beginning of the end and SIGKILL."""
        return float(self.pod["spec"]["terminationGracePeriodSeconds"])

    def exit_code(self, seconds: float) -> int:
        """How the process ended; TimeoutExpired if it has not by then."""
        return self.process.wait(seconds)


@contextlib.contextmanager
def running_pod(
    node: Node, pod: Manifest, also: Mapping[str, str] | None = None, user: int | None = None
) -> Iterator[Container]:
    """The one container of a pod; `also` are variables that the image would have, `user` is whom it runs as."""
    (container,) = pod["spec"]["containers"]
    environment = _environment(node, container, also or {})
    command = _command(node, container)
    if user is not None and os.geteuid() == 0:
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
    with running(command, node.home / f"{container['name']}.log", env=environment) as process:
        yield Container(node, pod, process, environment)


def run_to_end(node: Node, container: Manifest, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a container that ends by itself."""
    environment = _environment(node, container, {})
    command = _command(node, container)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)


def _command(node: Node, container: Manifest) -> list[str]:
    # Arguments without a command are for the image's entrypoint, images/atlas-start.
    command = container.get("command") or [str(ENTRYPOINT), *container["args"]]
    return [_argument(node, container["name"], argument) for argument in command]


def _argument(node: Node, component: str, argument: str) -> str:
    flag, is_port, port = argument.partition("-port=")
    return f"{flag}-port={node.port(component, port)}" if is_port else node.local(argument)


def _environment(node: Node, container: Manifest, also: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {"PATH": path, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **also}
    for entry in container.get("env", []):
        name, value = entry["name"], entry.get("value", f"{container['name']}-0")
        environment[name] = str(node.port(container["name"], value)) if name.endswith("PORT") else node.local(value)
    return environment

"""What a node does with the chart's pods, done by docker or podman: volumes, Secrets, environment, probes.

All pods share one network that leads nowhere, so that a container which fetches something does not come up.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from images.checks.chart import Manifest, Pod
from images.checks.engine import Engine, EngineError

HEALTHY = """
import sys, grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
with grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}") as channel:
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=4)
sys.exit(answer.status != health_pb2.HealthCheckResponse.SERVING)
"""
"""What the kubelet asks, asked by the Python of the image itself."""
CLOSED = """
test "$(id -u)" = 10001 || fault="runs as user $(id -u), not as 10001"
! touch /written 2>/dev/null || fault="can write to its root"
grep -q "^CapEff:.0*$" /proc/self/status || fault="has capabilities"
test -z "${fault-}" || { echo "$fault" >&2; exit 1; }
"""
"""That nobody privileged runs here: the images' own user, nowhere to write, no capability."""


@dataclass
class Node:
    """Runs pods one after another; `images` are the full names of our images by their short ones."""

    engine: Engine
    images: Mapping[str, str]
    secrets: Mapping[str, Mapping[str, str]]
    _network: str = ""
    _health: dict[str, int] = field(default_factory=dict)

    def run(self, pod: Pod) -> str:
        """Run a pod until it is ready, or until it ends if it is one that ends; what its last container printed."""
        if not self._network:
            self._open_network(pod)
        volumes = self._volumes(pod)
        for container in pod.spec.get("initContainers", []):
            self._to_end(pod, container, volumes)
        (container,) = pod.spec["containers"]
        if "readinessProbe" not in container:
            return self._to_end(pod, container, volumes)
        image, command, options = self._described(pod, container, volumes)
        full = self.engine.start(pod.name, image, command, options)
        self._wait_ready(pod, container, full)
        self.engine.inside(full, "sh", "-c", CLOSED)
        return self.engine.log(full)

    def inside(self, pod: Pod, *command: str) -> str:
        """Run a command inside a pod that runs; what it prints."""
        return self.engine.inside(f"{self.engine.run}-{pod.name}", *command)

    def wait_said(self, pod: Pod, text: str, seconds: float = 120) -> None:
        """Wait until a pod that runs has written `text`."""
        full, deadline = f"{self.engine.run}-{pod.name}", time.monotonic() + seconds
        while text not in (log := self.engine.log(full)):
            if time.monotonic() > deadline:
                raise EngineError(f"{pod.name} has not said {text!r}\n{log}")
            time.sleep(1)

    def _open_network(self, pod: Pod) -> None:
        image = self.images[pod.images[0]]
        holder = self.engine.start("network", image, ["86400"], ["--network=none", "--entrypoint=sleep"])
        self._network = f"--network=container:{holder}"

    def _to_end(self, pod: Pod, container: Manifest, volumes: Mapping[str, str]) -> str:
        image, command, options = self._described(pod, container, volumes)
        return self.engine.run_to_end(f"{pod.name}-{container['name']}", image, command, options)

    def _volumes(self, pod: Pod) -> dict[str, str]:
        """The option that mounts a volume, up to the place, by the volume's name."""
        image = self.images[pod.images[-1]]
        mounts = Counter(mount["name"] for container in pod.containers for mount in container["volumeMounts"])
        found = {}
        for volume in pod.spec["volumes"]:
            name, files = volume["name"], {}
            if "secret" in volume:
                texts = self.secrets[volume["secret"]["secretName"]]
                items = volume["secret"].get("items") or [{"key": key, "path": key} for key in texts]
                files = {item["path"]: texts[item["key"]] for item in items}
            if volume.get("emptyDir", {}).get("medium") == "Memory":
                # Both engines have /dev/shm anyhow, and only ask for its size.
                found[name] = f"--shm-size={volume['emptyDir']['sizeLimit'].removesuffix('i').lower()}"
            elif "emptyDir" in volume and mounts[name] == 1:
                found[name] = "--tmpfs={place}:rw,exec,mode=1777"
            else:
                found[name] = f"--volume={self.engine.volume(f'{pod.name}-{name}', image, files)}:{{place}}"
        return found

    def _described(self, pod: Pod, container: Manifest, volumes: Mapping[str, str]) -> tuple[str, list[str], list[str]]:
        """Image, command and options of a container."""
        options = [self._network]
        for entry in container.get("env", []):
            value = entry.get("value", f"{pod.name}-0")
            if entry["name"].endswith("_HEALTH_PORT"):
                value = str(self._health_port(pod))
            options.append(f"--env={entry['name']}={value}")
        for mount in container["volumeMounts"]:
            options.append(volumes[mount["name"]].format(place=mount["mountPath"]))
        command = container.get("args", [])
        if "command" in container:
            first, *command = container["command"]
            options.append(f"--entrypoint={first}")
        return self.images[pod.images[pod.containers.index(container)]], list(command), options

    def _health_port(self, pod: Pod) -> int:
        """Pods have the same one, which they cannot in one network."""
        return self._health.setdefault(pod.name, 50060 + len(self._health))

    def _wait_ready(self, pod: Pod, container: Manifest, full: str) -> None:
        startup = container["startupProbe"]
        deadline = time.monotonic() + startup["periodSeconds"] * startup["failureThreshold"]
        while not self._is_ready(pod, container, full):
            if not self.engine.is_running(full):
                raise EngineError(f"{pod.name} ended\n{self.engine.log(full)}")
            if time.monotonic() > deadline:
                raise EngineError(f"{pod.name} takes longer than the chart gives it\n{self.engine.log(full)}")
            time.sleep(1)

    def _is_ready(self, pod: Pod, container: Manifest, full: str) -> bool:
        probe = container["readinessProbe"]
        try:
            if "tcpSocket" in probe:
                port = container["ports"][0]["containerPort"]
                self.engine.inside(full, "bash", "-c", f"</dev/tcp/127.0.0.1/{port}")
            else:
                port = self._health.get(pod.name, probe["grpc"]["port"])
                self.engine.inside(full, "python3", "-", str(port), text=HEALTHY)
        except EngineError:
            return False
        return True

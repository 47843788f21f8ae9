"""The five services as processes, each as an operator starts it: `python -m services.<name>` and an environment."""

import contextlib
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.components.processes import free_port, running, wait_until

SERVICES = ("storage", "inference", "uncertainty", "merging", "scheduler")


@dataclass(frozen=True)
class ServiceProcess:
    """A service that runs: where it answers, where its metrics are, and its process."""

    name: str
    address: str
    metrics_port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def full_name(self) -> str:
        """The service's name in the contract."""
        return f"abdomenatlas.{self.name}.v1.{self.name.capitalize()}Service"

    def healthy(self) -> bool:
        """Whether its health service says SERVING for it."""
        assert self.process.poll() is None, self.log.read_text()
        with grpc.insecure_channel(self.address) as channel, contextlib.suppress(grpc.RpcError):
            health: Any = HealthStub(channel)
            answer = health.Check(HealthCheckRequest(service=self.full_name), timeout=5)
            return bool(answer.status == HealthCheckResponse.SERVING)
        return False

    def metrics(self) -> str:
        """Its page for Prometheus."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as page:
            return bytes(page.read()).decode()


def environment(name: str, home: Path, **settings: object) -> dict[str, str]:
    """The variables that make a service keep what it keeps under `home`; `settings` go under its prefix."""
    state = {
        "storage": {"OBJECTS": f"file:{home}/objects", "DATABASE_URL": f"sqlite:///{home}/catalog.db"},
        "scheduler": {"DATABASE_URL": f"sqlite:///{home}/scheduler.db"},
    }.get(name, {})
    return {**os.environ, **{f"ATLAS_{name}_{key}".upper(): str(value) for key, value in {**state, **settings}.items()}}


def command(name: str) -> list[str]:
    """How a service is started."""
    return [sys.executable, "-m", f"services.{name}"]


@contextlib.contextmanager
def launched(name: str, home: Path, **settings: object) -> Iterator[ServiceProcess]:
    """Start a service on free ports, and stop it on leaving. It may not be ready yet."""
    port, metrics_port = free_port(), free_port()
    env = environment(name, home, port=port, metrics_port=metrics_port, **settings)
    log = home / f"{name}.log"
    with running(command(name), log, env=env, stop_seconds=30) as process:
        yield ServiceProcess(name, f"127.0.0.1:{port}", metrics_port, process, log)


def wait_healthy(service: ServiceProcess) -> None:
    """Wait until a service says that it is ready."""
    wait_until(service.healthy, f"{service.name} (log: {service.log})", 120)

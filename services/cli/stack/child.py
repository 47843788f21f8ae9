"""One process of the stack, as the supervisor sees it."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.core.rpc.client import DIRECT

LOG_LIMIT_BYTES = 20 * 2**20


class Child(Protocol):
    """A process that can be started again after it died."""

    name: str
    address: str
    """gRPC, "host:port"."""
    metrics: str
    """Prometheus, "host:port"."""
    log: Path

    def start(self) -> None:
        """Start the process; it need not be ready when this returns."""

    @property
    def pid(self) -> int | None:
        """Process id, while it runs."""

    def exit_code(self) -> int | None:
        """None while it runs; a negative number is the signal that ended it."""

    def is_ready(self) -> bool:
        """Whether it answers calls now."""

    def terminate(self) -> None:
        """Ask it to drain and end."""

    def kill(self) -> None:
        """End it and what it started at once."""


@dataclass
class ServiceProcess:
    """A Python service that answers gRPC health checks."""

    name: str
    address: str
    metrics: str
    log: Path
    environment: Mapping[str, str]
    command: tuple[str, ...] = ()
    """What to run; empty means `python -m services.<name>`."""
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the service with its output appended to the log."""
        rotate(self.log)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command or (sys.executable, "-m", f"services.{self.name}"),
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal must reach the supervisor alone: it stops the others in their order.
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """Process id, while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll() if self._process else None

    def is_ready(self) -> bool:
        """Whether the service reports SERVING."""
        return is_serving(self.address)

    def terminate(self) -> None:
        """SIGTERM."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to its whole session."""
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def is_serving(address: str, timeout_seconds: float = 1.0) -> bool:
    """Whether the gRPC server at `address`, on this machine, reports SERVING."""
    with grpc.insecure_channel(address, options=[DIRECT]) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_seconds)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def rotate(log: Path, limit_bytes: int = LOG_LIMIT_BYTES) -> None:
    """Set a log that has grown beyond the limit aside as `<name>.1`, so that logs stay bounded."""
    if log.exists() and log.stat().st_size > limit_bytes:
        log.replace(log.with_name(f"{log.name}.1"))


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, or a word that it is empty."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        text = ""
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"

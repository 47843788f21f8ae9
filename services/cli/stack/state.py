"""The state folder of a stack on this machine: where everything lies, and who runs it."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil

from services.core.errors import AtlasError, Reason

Phase = Literal["starting", "ready", "stopping"]


@dataclass(frozen=True)
class ProcessId:
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    created: float
    """Seconds since the epoch, as the kernel tells it."""

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """The process with this pid, or None if there is none."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error:
            return None

    def process(self) -> psutil.Process | None:
        """The running process, or None if it ended (a zombie has ended)."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 0.05
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


@dataclass(frozen=True)
class Endpoint:
    """One process of the stack."""

    name: str
    address: str
    """gRPC, "host:port"."""
    metrics: str
    """Prometheus, "host:port"."""
    process: ProcessId | None
    ready: bool
    restarts: int


@dataclass(frozen=True)
class Endpoints:
    """What `endpoints.json` says: written by the supervisor at every change, read by every other command."""

    phase: Phase
    supervisor: ProcessId
    started: float
    endpoints: tuple[Endpoint, ...]

    @property
    def is_running(self) -> bool:
        """Whether the supervisor that wrote this still runs."""
        return self.supervisor.process() is not None

    def leftovers(self) -> list[psutil.Process]:
        """Processes of the stack that run although their supervisor does not."""
        if self.is_running:
            return []
        running = (e.process.process() for e in self.endpoints if e.process)
        return [process for process in running if process]


@dataclass(frozen=True)
class StateFolder:
    """Paths of one stack's state."""

    root: Path

    @property
    def logs(self) -> Path:
        """Folder of one log file per process."""
        return self.root / "logs"

    @property
    def endpoints_file(self) -> Path:
        """Who runs where."""
        return self.root / "endpoints.json"

    def log(self, name: str) -> Path:
        """Log file of one process."""
        return self.logs / f"{name}.log"

    def read(self) -> Endpoints | None:
        """The endpoints, or None if no stack was started here or it was stopped cleanly."""
        try:
            data = json.loads(self.endpoints_file.read_text())
            endpoints = (
                Endpoint(**{**e, "process": ProcessId(**e["process"]) if e["process"] else None})
                for e in data["endpoints"]
            )
            return Endpoints(data["phase"], ProcessId(**data["supervisor"]), data["started"], tuple(endpoints))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise AtlasError(
                Reason.FIELD_INVALID,
                "This is not an endpoint file of this version.",
                field=str(self.endpoints_file),
                remedy="Stop the stack that wrote it, or delete the file if none runs.",
            ) from error

    def write(self, endpoints: Endpoints) -> None:
        """Replace the endpoint file in one step."""
        part = self.endpoints_file.with_suffix(".part")
        part.write_text(json.dumps(asdict(endpoints), indent=2) + "\n")
        part.replace(self.endpoints_file)

    def clear(self) -> None:
        """Say that nothing runs."""
        self.endpoints_file.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one supervisor. The kernel frees it when that process dies, however it dies.

        Raises RESOURCE_CONFLICT if another one holds it.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise already_up(self.root, self.read()) from error
            yield
        finally:
            os.close(descriptor)


def already_up(root: Path, endpoints: Endpoints | None) -> AtlasError:
    """The error for a second `atlas up` on one folder."""
    holder = ""
    if endpoints and endpoints.is_running:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(endpoints.started))
        holder = f" (process {endpoints.supervisor.pid}, since {since})"
    return AtlasError(
        Reason.RESOURCE_CONFLICT,
        f"A stack already runs on this state folder{holder}.",
        field=str(root),
        remedy="Use it as it is, stop it with `atlas down`, or give another folder with --state.",
    )

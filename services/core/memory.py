"""Memory is known beforehand: work says how much it needs, waits for it, or is refused before it starts."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from services.core.errors import AtlasError, Reason

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def total_bytes() -> int:
    """Memory of this machine, or of this container if it has a lower limit."""
    total = int(psutil.virtual_memory().total)
    for path in _CGROUP_LIMITS:
        try:
            total = min(total, int(path.read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return total


class MemoryGate:
    """Lets work in while the sum of what it declared stays within a budget."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._held = 0
        self._is_closing = False
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, needed_bytes: int, *, what: str) -> Iterator[None]:
        """Hold `needed_bytes`, waiting for others to give theirs back.

        Raises VOLUME_TOO_LARGE if it can never fit, and SHUTTING_DOWN instead of waiting once the gate is closed.
        `what` names the volume or file in the message.
        """
        if needed_bytes > self.budget_bytes:
            raise AtlasError(
                Reason.VOLUME_TOO_LARGE,
                f"{what} needs {_mib(needed_bytes)} of memory, this service may use {_mib(self.budget_bytes)}.",
                field=what,
                remedy="Run it on a larger machine, raise the service's memory budget, or crop the volume.",
            )
        with self._changed:
            self._changed.wait_for(lambda: self._is_closing or self._fits(needed_bytes))
            if not self._fits(needed_bytes):
                raise AtlasError(
                    Reason.SHUTTING_DOWN, "The service is stopping.", field=what, remedy="Ask again in a moment."
                )
            self._held += needed_bytes
        try:
            yield
        finally:
            with self._changed:
                self._held -= needed_bytes
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any longer: the process is about to end. What holds memory goes on."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()

    def _fits(self, needed_bytes: int) -> bool:
        return self._held + needed_bytes <= self.budget_bytes


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"

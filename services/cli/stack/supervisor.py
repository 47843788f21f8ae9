"""Keeps the processes of a stack running: starts them, starts dead ones again, stops them in reverse order."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from services.cli.stack.child import Child, tail
from services.cli.stack.state import Endpoint, Endpoints, Phase, ProcessId, StateFolder
from services.core.errors import AtlasError, Reason

TICK_SECONDS = 0.2
START_SECONDS = 180.0
STABLE_SECONDS = 60.0
MAX_DELAY_SECONDS = 30.0
HURRIED_SECONDS = 2.0

OnChange = Callable[[Endpoints], None]
log = structlog.get_logger()


def delay_seconds(failures: int) -> float:
    """How long to wait before the restart after this many failures in a row: 0.5, 1, 2, 4, ... at most 30 s."""
    return min(MAX_DELAY_SECONDS, 0.5 * 2.0 ** (failures - 1))


@dataclass
class _Watched:
    child: Child
    ready: bool = False
    restarts: int = 0
    failures: int = 0
    started_at: float = 0.0
    start_again_at: float | None = None


class Supervisor:
    """Runs `layers` of children: all start at once, and a layer stops only after the layers behind it have."""

    def __init__(
        self,
        layers: Sequence[Sequence[Child]],
        state: StateFolder,
        *,
        drain_seconds: float = 40.0,
        on_change: OnChange = lambda _: None,
    ) -> None:
        self._layers = [[_Watched(child) for child in layer] for layer in layers]
        self._all = [watched for layer in self._layers for watched in layer]
        self._state = state
        self._drain_seconds = drain_seconds
        self._on_change = on_change
        self._started = time.time()
        me = ProcessId.of(os.getpid())
        assert me is not None
        self._me = me
        self._times_stopped = 0

    def stop(self) -> None:
        """End `run`; a second time, cut draining short. Signal handlers and other threads may call it."""
        # No Event: a handler that sets one while its own thread enters `wait` never gets the lock inside it.
        self._times_stopped += 1

    def run(self, *, start_seconds: float = START_SECONDS) -> None:
        """Start everything, keep it running until `stop`, stop everything.

        Raises DEPENDENCY_UNAVAILABLE with the end of its log if a process cannot start; nothing is left running.
        """
        try:
            self._start_all(time.monotonic() + start_seconds)
            while not self._times_stopped:
                self._look_after_all()
                time.sleep(TICK_SECONDS)
        finally:
            self._stop_all()

    def _start_all(self, deadline: float) -> None:
        for watched in self._all:
            watched.child.start()
            watched.started_at = time.monotonic()
        self._publish("starting")
        while not all(w.ready for w in self._all) and not self._times_stopped:
            time.sleep(TICK_SECONDS)
            for watched in self._all:
                code = watched.child.exit_code()
                if code is not None:
                    raise _cannot_start(watched.child, f"{_ending(code)} before it was ready")
                if not watched.ready and watched.child.is_ready():
                    watched.ready = True
                    self._publish("starting")
            if time.monotonic() > deadline:
                late = next(w.child for w in self._all if not w.ready)
                raise _cannot_start(late, "is still not ready")
        if not self._times_stopped:
            log.info("ready", seconds=round(time.time() - self._started, 1))
            self._publish("ready")

    def _look_after_all(self) -> None:
        changed = False
        for watched in self._all:
            changed |= self._look_after(watched)
        if changed:
            self._publish("ready")

    def _look_after(self, watched: _Watched) -> bool:
        now, child = time.monotonic(), watched.child
        if watched.start_again_at is not None:
            if now < watched.start_again_at:
                return False
            self._start_again(watched)
            return True
        code = child.exit_code()
        if code is not None:
            self._start_later(watched, "died", _ending(code))
            return True
        if not watched.ready and child.is_ready():
            watched.ready = True
            log.info("ready again", process=child.name)
            return True
        return False

    def _start_again(self, watched: _Watched) -> None:
        watched.start_again_at, watched.started_at = None, time.monotonic()
        watched.restarts += 1
        try:
            watched.child.start()
        except (AtlasError, OSError) as error:
            self._start_later(watched, "cannot be started", str(error))
        else:
            log.info("restarted", process=watched.child.name, restarts=watched.restarts)

    def _start_later(self, watched: _Watched, what: str, why: str) -> None:
        now, child = time.monotonic(), watched.child
        # A process that ran well for a while has earned a quick restart.
        watched.failures = 1 if now - watched.started_at > STABLE_SECONDS else watched.failures + 1
        delay = delay_seconds(watched.failures)
        watched.ready, watched.start_again_at = False, now + delay
        log.warning(what, process=child.name, why=why, restart_in_seconds=delay, log=str(child.log))

    def _stop_all(self) -> None:
        self._publish("stopping")
        for layer in reversed(self._layers):
            running = [w.child for w in layer if w.child.pid is not None]
            for child in running:
                child.terminate()
            deadline = time.monotonic() + self._drain_seconds
            while any(c.exit_code() is None for c in running) and time.monotonic() < deadline:
                time.sleep(TICK_SECONDS)
                if self._times_stopped > 1:
                    deadline = min(deadline, time.monotonic() + HURRIED_SECONDS)
            for child in running:
                if child.exit_code() is None:
                    log.warning("killed", process=child.name, waited_seconds=self._drain_seconds)
                    child.kill()
            for watched in layer:
                watched.ready = False
            self._publish("stopping")
        log.info("stopped")
        self._state.clear()

    def _publish(self, phase: Phase) -> None:
        endpoints = tuple(
            Endpoint(
                w.child.name,
                w.child.address,
                w.child.metrics,
                ProcessId.of(w.child.pid) if w.child.pid is not None else None,
                w.ready,
                w.restarts,
            )
            for w in self._all
        )
        snapshot = Endpoints(phase, self._me, self._started, endpoints)
        try:
            self._state.write(snapshot)
        except OSError as error:
            # A full disk must not end a stack that runs.
            log.error("endpoints not written", why=str(error))
        self._on_change(snapshot)


def _ending(code: int) -> str:
    if code < 0:
        try:
            return f"ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"ended by signal {-code}"
    return f"ended with exit code {code}"


def _cannot_start(child: Child, what: str) -> AtlasError:
    return AtlasError(
        Reason.DEPENDENCY_UNAVAILABLE,
        f"{child.name} {what}. The end of its log:\n\n{tail(child.log)}\n",
        field=child.name,
        remedy=f"The whole log is {child.log}.",
    )

"""The supervisor keeps its processes running and leaves none behind."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from services.cli.stack.child import Child, ServiceProcess, rotate, tail
from services.cli.stack.leftovers import stop_leftovers
from services.cli.stack.state import Endpoints, StateFolder
from services.cli.stack.supervisor import Supervisor, delay_seconds
from services.core.errors import AtlasError, Reason

T = TypeVar("T")
LONG = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
)


class Process(ServiceProcess):
    """A process that counts as ready once it runs, or once its log says so."""

    waits_for = ""

    def is_ready(self) -> bool:
        return self.pid is not None and self.waits_for in tail(self.log)


def process(state: StateFolder, name: str, code: str = LONG) -> Process:
    state.logs.mkdir(parents=True, exist_ok=True)
    return Process(name, "127.0.0.1:1", "127.0.0.1:2", state.log(name), {}, (sys.executable, "-c", code))


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.logs.mkdir(parents=True)
    return folder


@contextmanager
def running(supervisor: Supervisor) -> Iterator[None]:
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        yield
    finally:
        supervisor.stop()
        thread.join(20)
        assert not thread.is_alive()


def until(read: Callable[[], T], seconds: float = 15) -> T:
    deadline = time.monotonic() + seconds
    while not (value := read()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return value


def endpoints(state: StateFolder, phase: str = "ready") -> Endpoints | None:
    found = state.read()
    return found if found and found.phase == phase and all(e.ready for e in found.endpoints) else None


def test_it_tells_when_all_are_ready_and_stops_in_reverse_order(state: StateFolder) -> None:
    first, second = process(state, "first"), process(state, "second")
    seen: list[tuple[str, ...]] = []

    def watch(told: Endpoints) -> None:
        if told.phase == "stopping":
            seen.append(tuple(e.name for e in told.endpoints if e.process))

    with running(Supervisor([[first], [second]], state, on_change=watch)):
        told = until(lambda: endpoints(state))
        assert told
        assert told.supervisor.pid == os.getpid()
        assert {e.name: e.process.pid if e.process else 0 for e in told.endpoints} == {
            "first": first.pid,
            "second": second.pid,
        }
    assert seen == [("first", "second"), ("first",), ()]
    assert first.exit_code() == second.exit_code() == -signal.SIGTERM
    assert state.read() is None


def test_a_killed_process_starts_again(state: StateFolder) -> None:
    child = process(state, "storage")
    with running(Supervisor([[child]], state)):
        until(lambda: endpoints(state))
        killed = child.pid
        assert killed
        os.kill(killed, signal.SIGKILL)

        def restarted() -> bool:
            now = endpoints(state)
            return now is not None and now.endpoints[0].restarts == 1

        until(restarted)
        assert child.pid != killed


def test_delays_grow_and_end() -> None:
    assert [delay_seconds(n) for n in (1, 2, 3, 4, 7, 20, 1000)] == [0.5, 1, 2, 4, 30, 30, 30]


def test_what_cannot_start_is_shown_with_the_end_of_its_log(state: StateFolder) -> None:
    healthy = process(state, "healthy")
    broken = process(state, "broken", "import sys; print('no such database'); sys.exit(3)")
    broken.waits_for = "never"
    with pytest.raises(AtlasError) as caught:
        Supervisor([[healthy], [broken]], state).run()
    assert caught.value.reason == Reason.DEPENDENCY_UNAVAILABLE
    assert "ended with exit code 3" in caught.value.message
    assert "no such database" in caught.value.message
    assert str(state.log("broken")) in caught.value.remedy
    assert healthy.exit_code() is not None, "nothing is left running"
    assert state.read() is None


def test_what_is_never_ready_ends_the_start(state: StateFolder) -> None:
    child = process(state, "slow")
    child.waits_for = "never"
    with pytest.raises(AtlasError, match="still not ready"):
        Supervisor([[child]], state).run(start_seconds=0.5)
    assert child.pid is None


def test_a_process_that_does_not_listen_is_killed(state: StateFolder) -> None:
    child = process(state, "deaf", STUBBORN)
    child.waits_for = "deaf"
    with running(Supervisor([[child]], state, drain_seconds=0.5)):
        until(lambda: endpoints(state))
    assert child.exit_code() == -signal.SIGKILL


def test_hurry_cuts_draining_short(state: StateFolder) -> None:
    child = process(state, "deaf", STUBBORN)
    child.waits_for = "deaf"
    supervisor = Supervisor([[child]], state, drain_seconds=60)
    began = time.monotonic()
    with running(supervisor):
        until(lambda: endpoints(state))
        supervisor.stop()
    assert time.monotonic() - began < 20
    assert child.exit_code() == -signal.SIGKILL


def test_one_supervisor_a_folder(state: StateFolder) -> None:
    with (
        state.locked(),
        pytest.raises(AtlasError, match="already runs") as caught,
        StateFolder(state.root).locked(),
    ):
        pass
    assert caught.value.reason == Reason.RESOURCE_CONFLICT
    with state.locked():
        """The lock goes with its holder."""


def test_leftovers_of_a_killed_supervisor_are_found_and_ended(state: StateFolder, tmp_path: Path) -> None:
    script = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from services.cli.stack.state import StateFolder
from services.cli.stack.supervisor import Supervisor
from tests.cli.test_supervisor import process
state = StateFolder(Path({str(state.root)!r}))
Supervisor([[process(state, "one")], [process(state, "two")]], state).run()
"""
    supervisor = psutil.Popen([sys.executable, "-c", script])
    told = until(lambda: endpoints(state))
    assert told
    supervisor.kill()
    supervisor.wait()
    dead = state.read()
    assert dead
    assert not dead.is_running
    left = dead.leftovers()
    assert len(left) == 2
    assert stop_leftovers(state) == 2
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in left)
    assert state.read() is None
    assert stop_leftovers(state) == 0


def test_a_foreign_endpoint_file_is_named(state: StateFolder) -> None:
    state.endpoints_file.write_text("{}")
    with pytest.raises(AtlasError) as caught:
        state.read()
    assert caught.value.field == str(state.endpoints_file)


def test_logs_stay_bounded(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("old\n" * 10)
    rotate(log, limit_bytes=10)
    assert not log.exists()
    assert (tmp_path / "x.log.1").exists()
    assert tail(log) == "(the log is empty)"


def test_a_service_process_is_a_child(state: StateFolder) -> None:
    child: Child = process(state, "x")
    assert child.exit_code() is None
    assert child.pid is None


def test_a_restart_that_fails_is_tried_again(state: StateFolder) -> None:
    child = process(state, "storage")
    with running(Supervisor([[child]], state)):
        until(lambda: endpoints(state))
        child.command, works = ("/no/such/program",), child.command
        assert child.pid
        os.kill(child.pid, signal.SIGKILL)
        until(lambda: (now := state.read()) is not None and now.endpoints[0].restarts >= 1)
        child.command = works
        until(lambda: endpoints(state))

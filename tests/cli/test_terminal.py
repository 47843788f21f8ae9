"""What happens to a stack whose terminal is closed, or whose output nobody reads any more."""

import contextlib
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from services.cli.stack.launch import STOP_SECONDS
from services.cli.stack.state import Endpoints, StateFolder
from tests.cli.test_command_line import atlas
from tests.cli.test_stack import save_case, until
from tests.components import triton as component
from tests.components.require import require


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a model repository and a case."""
    require(component.is_installed(), "Triton is not installed: pip install --no-deps nvidia-pytriton==0.7.0")
    shutil.copytree(component.MODELS, tmp_path / "models", ignore=shutil.ignore_patterns("__pycache__"))
    save_case(tmp_path / "case", 160.0)
    return tmp_path


@contextlib.contextmanager
def terminal(home: Path, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The command in a terminal of its own, which is closed on leaving."""
    ours, theirs = pty.openpty()
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("ATLAS_")}
    running = subprocess.Popen(
        # What opens a terminal first in a session of its own is who is told that it was closed; under nohup, in which
        # these tests may run, it would not listen.
        ["env", "--default-signal=HUP", "setsid", "--ctty", *words],
        cwd=home,
        env={**inherited, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    closing = threading.Event()
    reader = threading.Thread(target=_read_all, args=(ours, closing))
    reader.start()
    try:
        yield running
    finally:
        closing.set()
        reader.join()
        os.close(ours)


def _read_all(terminal: int, closing: threading.Event) -> None:
    """Nobody looks at what it shows; but a full terminal would hold it up."""
    while not closing.is_set():
        if select.select([terminal], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):  # nobody has it open any more
                os.read(terminal, 4096)


def stack(state: Path) -> Endpoints | None:
    found = StateFolder(state).read()
    return found if found and found.phase == "ready" else None


def restarted(state: Path) -> list[str]:
    found = stack(state)
    return [e.name for e in found.endpoints if e.restarts and e.ready] if found else []


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("words", "state"),
    [(("up",), ".atlas"), (("demo", "--ct", "case", "--out", "out"), "out/state")],
    ids=["up", "demo"],
)
def test_a_closed_terminal_stops_the_stack(home: Path, words: tuple[str, ...], state: str) -> None:
    with terminal(home, sys.executable, "-m", "services.cli", *words, "--models", "models") as command:
        until(lambda: stack(home / state) is not None)
        found = stack(home / state)
        assert found
    command.wait(STOP_SECONDS)
    assert not (home / "out" / "report.html").exists(), "the demonstration went on to its end"
    pids = [found.supervisor.pid, *(e.process.pid for e in found.endpoints if e.process)]
    try:
        assert not [pid for pid in pids if lives(pid)]
        log = (home / state / "logs" / "supervisor.log").read_text()
        assert '"event": "stopped"' in log
        assert '"event": "killed"' not in log, "calls in flight may end"
    finally:
        atlas("down", "--state", state, cwd=home)


@pytest.mark.parametrize("script", ['exec "$0" "$@"', '"$0" "$@" 2>&1 | true'], ids=["terminal", "pipe"])
def test_it_goes_on_when_nobody_reads_what_it_tells(home: Path, script: str) -> None:
    words = (sys.executable, "-m", "services.cli", "up", "--models", "models")
    state = home / ".atlas"
    with terminal(home, "sh", "-c", f"trap '' HUP; {script}", *words) as command:
        until(lambda: stack(state) is not None)
    try:
        found = stack(state)
        assert found
        merging = next(e.process for e in found.endpoints if e.name == "merging")
        assert merging
        os.kill(merging.pid, signal.SIGKILL)
        until(lambda: restarted(state) == ["merging"])
        found = stack(state)
        assert found
    finally:
        stopped = atlas("down", cwd=home)
    assert stopped.returncode == 0, stopped.stderr
    command.wait(STOP_SECONDS)
    assert not [e.name for e in found.endpoints if e.process and lives(e.process.pid)]


def test_nohup_keeps_it(home: Path) -> None:
    with terminal(home, "nohup", sys.executable, "-m", "services.cli", "up", "--models", "models") as command:
        until(lambda: stack(home / ".atlas") is not None)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            command.wait(2)
        assert atlas("status", cwd=home).returncode == 0
    finally:
        atlas("down", cwd=home)
        command.wait(STOP_SECONDS)

"""Start and stop the real servers that tests talk to."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from services.cli.stack.ports import free_ports


def free_port() -> int:
    """Return a TCP port on loopback that nobody else is given while this test run lives."""
    return free_ports(1)[0]


def listens(port: int) -> bool:
    """Say whether something accepts connections on loopback at `port`."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(ready: Callable[[], bool], what: str, seconds: float) -> None:
    """Poll `ready` until it is true; raise TimeoutError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} was not ready after {seconds:.0f} s")
        time.sleep(0.1)


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None, stop_seconds: float = 10
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in a process group of its own, output into `log`, and end the whole group on leaving.

    The group gets SIGTERM, and SIGKILL after `stop_seconds`. Should the test run itself be killed, the kernel kills
    the command too (where util-linux's setpriv is at hand).
    """
    setpriv = shutil.which("setpriv")
    tied = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*tied, *command], stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=env, start_new_session=True
        )
    try:
        yield process
    finally:
        _end_group(process, stop_seconds)


def _end_group(process: subprocess.Popen[bytes], stop_seconds: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(stop_seconds)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

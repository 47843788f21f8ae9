"""Starting a stack in the background, and stopping one."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from services.cli.stack.child import tail
from services.cli.stack.leftovers import stop_leftovers
from services.cli.stack.state import Endpoints, StateFolder, already_up
from services.core.errors import AtlasError, Reason

POLL_SECONDS = 0.2
STOP_SECONDS = 180.0
"""More than the longest that a supervisor may take to drain all its layers."""
SUPERVISOR = "supervisor"


def start_detached(state: StateFolder, models: Path, on_change: Callable[[Endpoints], None]) -> Endpoints:
    """Start a supervisor in a session of its own and wait until its stack is ready.

    Raises RESOURCE_CONFLICT if one runs already, and DEPENDENCY_UNAVAILABLE with its last words if it cannot start.
    """
    running = state.read()
    if running and running.is_running:
        raise already_up(state.root, running)
    state.logs.mkdir(parents=True, exist_ok=True)
    log = state.log(SUPERVISOR)
    with log.open("ab") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "up", "--state", str(state.root), "--models", str(models)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        return _wait_ready(supervisor, state, on_change)
    except BaseException:
        if supervisor.poll() is None:
            supervisor.terminate()
            supervisor.wait()
        raise


def _wait_ready(
    supervisor: "subprocess.Popen[bytes]", state: StateFolder, on_change: Callable[[Endpoints], None]
) -> Endpoints:
    while True:
        endpoints = state.read()
        if endpoints and endpoints.supervisor.pid == supervisor.pid:
            on_change(endpoints)
            if endpoints.phase == "ready":
                return endpoints
        code = supervisor.poll()
        if code is not None:
            raise AtlasError(
                Reason.DEPENDENCY_UNAVAILABLE,
                f"The stack could not start:\n\n{tail(state.log(SUPERVISOR), 30)}\n",
                field=str(state.root),
                remedy=f"All logs are in {state.logs}.",
            )
        time.sleep(POLL_SECONDS)


def stop(state: StateFolder, on_change: Callable[[Endpoints], None]) -> bool:
    """Stop the stack of this folder and wait until it is gone. Returns whether there was one.

    Raises DEADLINE_EXCEEDED if it is still there after STOP_SECONDS.
    """
    endpoints = state.read()
    if endpoints is None:
        return False
    supervisor = endpoints.supervisor.process()
    if supervisor is None:
        return stop_leftovers(state) > 0
    supervisor.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    while endpoints.is_running:
        if time.monotonic() > deadline:
            raise AtlasError(
                Reason.DEADLINE_EXCEEDED,
                f"The supervisor (process {supervisor.pid}) still runs after {STOP_SECONDS:.0f} s.",
                field=str(state.root),
                remedy=f"Look at {state.log(SUPERVISOR)}.",
            )
        if current := state.read():
            on_change(current)
        time.sleep(POLL_SECONDS)
    return True

"""`atlas up`, `atlas down` and `atlas status`: the stack on this machine."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import structlog
import typer

from services.cli.commands.options import STATE, Json, State
from services.cli.exits import Exit
from services.cli.output import out, print_json, say, table
from services.cli.stack import launch
from services.cli.stack.child import is_serving, rotate
from services.cli.stack.ending import on_end
from services.cli.stack.leftovers import stop_leftovers
from services.cli.stack.plan import default_models, plan
from services.cli.stack.state import Endpoints, StateFolder
from services.cli.stack.supervisor import Supervisor
from services.core.rpc import logs

Models = Annotated[
    Path | None,
    typer.Option("--models", envvar="ATLAS_MODELS", help="Triton model repository.", show_default="models/"),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(down)
    app.command()(status)


def up(
    state: State = STATE,
    models: Models = None,
    detach: Annotated[
        bool, typer.Option("--detach/--foreground", help="Go on in the background once everything is ready.")
    ] = False,
) -> None:
    """Start the five services and Triton on free ports of this machine.

    Data, logs and the list of addresses go to the state folder. A process that dies is started again. Ctrl-C, closing
    the terminal or `atlas down` lets calls in flight end and stops everything; a second Ctrl-C does not wait.

    Examples: `atlas up` · `atlas up --state /data/atlas --detach`
    """
    folder = StateFolder(state.resolve())
    repository = (models or default_models()).resolve()
    show = StackDisplay()
    if detach:
        launch.start_detached(folder, repository, show)
    else:
        run_stack(folder, repository, show)


def run_stack(folder: StateFolder, models: Path, show: "StackDisplay") -> None:
    """Run a stack in this process until it is told to end (`on_end`)."""
    with folder.locked():
        _log_to(folder.log(launch.SUPERVISOR))
        if count := stop_leftovers(folder):
            structlog.get_logger().warning("stopped leftovers of a killed supervisor", processes=count)
        supervisor = Supervisor(plan(folder, models), folder, on_change=show)
        on_end(lambda *_: supervisor.stop())
        show.logs = folder.logs
        supervisor.run()


def _log_to(path: Path) -> None:
    """Send this process's own log, as JSON lines, to a file: the terminal belongs to the display."""
    rotate(path)
    logs.configure("info", launch.SUPERVISOR)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(path.open("a", buffering=1)))


def down(state: State = STATE) -> None:
    """Stop the stack of a state folder and wait until it is gone; also what a killed one left running."""
    folder = StateFolder(state.resolve())
    stopped = launch.stop(folder, StackDisplay(folder.read()))
    say("The stack is stopped." if stopped else f"No stack runs on {folder.root}.")


def status(state: State = STATE, json: Json = False) -> None:
    """Show what runs where. Ends with code 3 if not everything is ready."""
    folder = StateFolder(state.resolve())
    endpoints = folder.read()
    alive = endpoints is not None and endpoints.is_running
    if endpoints and alive:
        # Ask now: what the supervisor saw last may have stopped answering since.
        asked = tuple(replace(e, ready=e.ready and is_serving(e.address)) for e in endpoints.endpoints)
        endpoints = replace(endpoints, endpoints=asked)
    ready = endpoints is not None and alive and all(e.ready for e in endpoints.endpoints)
    if json:
        print_json(
            {
                "state": str(folder.root),
                "phase": endpoints.phase if endpoints and alive else "stopped",
                "ready": ready,
                "logs": str(folder.logs),
                "endpoints": [
                    {
                        "name": e.name,
                        "address": e.address,
                        "metrics": e.metrics,
                        "pid": e.process.pid if e.process else None,
                        "ready": e.ready and alive,
                        "restarts": e.restarts,
                    }
                    for e in (endpoints.endpoints if endpoints else ())
                ],
            }
        )
    elif endpoints is None:
        say(f"No stack runs on {folder.root}.")
    elif not alive:
        left = len(endpoints.leftovers())
        say(f"The supervisor of {folder.root} was killed; {left} of its processes still run.")
        say("`atlas up` takes over, `atlas down` cleans up.")
    else:
        _show(endpoints)
        out.print(f"\nLogs: {folder.logs}")
    if not ready:
        raise typer.Exit(Exit.UNREACHABLE)


def _show(endpoints: Endpoints) -> None:
    rows = table("Process", "State", "Address", "Metrics", "Pid", "Restarts", right=("Pid", "Restarts"))
    for e in endpoints.endpoints:
        state = "ready" if e.ready else "not ready"
        rows.add_row(e.name, state, e.address, e.metrics, str(e.process.pid if e.process else ""), str(e.restarts))
    out.print(rows)


class StackDisplay:
    """Tells on stderr, once each, when a process becomes ready, dies or stops; `known` was told before."""

    def __init__(self, known: Endpoints | None = None) -> None:
        self.logs: Path | None = None
        self._ready = frozenset(e.name for e in known.endpoints if e.ready) if known else frozenset[str]()
        self._phase: str = known.phase if known else ""
        self._began = time.monotonic()

    def __call__(self, endpoints: Endpoints) -> None:
        """Tell what changed since the last call."""
        ready = frozenset(e.name for e in endpoints.endpoints if e.ready)
        if endpoints.phase == "stopping":
            gone = frozenset(e.name for e in endpoints.endpoints if e.process is None) & self._ready
            for name in sorted(gone):
                say(f"  {name} stopped")
            self._ready -= gone
            return
        for e in endpoints.endpoints:
            if e.name in ready - self._ready:
                say(f"  {e.name:<12} ready at {e.address}" + (f" (restart {e.restarts})" if e.restarts else ""))
            elif e.name in self._ready - ready:
                say(f"  {e.name:<12} died and is started again; see its log")
        self._ready = ready
        if endpoints.phase != self._phase:
            self._phase = endpoints.phase
            if endpoints.phase == "starting":
                say("Starting five services and Triton …")
            else:
                say(f"Ready after {time.monotonic() - self._began:.0f} s.")
                if self.logs:
                    say(f"Logs: {self.logs}\nCtrl-C stops everything.")

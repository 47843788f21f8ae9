"""`atlas selftest`: one tiny prediction through an installation."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from services.cli.commands.options import STATE, Json, State
from services.cli.connection import Connection
from services.cli.output import print_json, say
from services.cli.selftest import Step, selftest


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("selftest")(run)


def run(
    state: State = STATE,
    model: Annotated[str, typer.Option(help="Model to ask, as models/NAME/versions/N; default: the first.")] = "",
    json: Json = False,
) -> None:
    """Send one tiny CT through storage, inference and Triton, and read the answer back.

    The CT stays in the catalog as volumes/selftest; a repetition adds nothing. `helm test` runs this command.

    Examples: `atlas selftest` · `ATLAS_STORAGE=host:50051 ATLAS_INFERENCE=host:50052 atlas selftest`
    """
    connection = Connection.to(state)
    steps: list[Step] = []
    with tempfile.TemporaryDirectory() as folder:
        for step in selftest(connection.storage, connection.inference, Path(folder), model):
            steps.append(step)
            if not json:
                say(f"ok  {step.name}: {step.detail}")
    if json:
        print_json([{"step": step.name, "detail": step.detail} for step in steps])

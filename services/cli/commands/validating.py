"""`atlas validate`: what is wrong with a folder of cases."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from services.cli.commands.options import Json
from services.cli.exits import Exit
from services.cli.output import counted, out, print_json, table
from services.cli.validation.folder import cases, faults


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("validate")(run)


def run(
    folder: Annotated[Path, typer.Argument(help="A release, or anybody's folder of cases in the BDMAP layout.")],
    json: Json = False,
) -> None:
    """List what is wrong with a folder of cases in the BDMAP layout: our releases, and other people's.

    Files that are missing, altered or cannot be read; grids and headers that contradict each other; masks that are not
    binary; combined labels that do not follow from the masks. Needs no stack. The exit code is 6 if anything is wrong;
    what is merely odd is told, and changes no exit code.

    Examples: `atlas validate releases/first` · `atlas validate AbdomenAtlas1.0Mini --json`
    """
    found = cases(folder)
    with counted("Validating") as progress:
        task = progress.add_task("", total=len(found))
        told = faults(folder, found, lambda case: progress.update(task, advance=1, description=case.name))
    grave = sum(fault.grave for fault in told)
    if json:
        print_json({"folder": str(folder), "cases": len(found), "faults": [asdict(fault) for fault in told]})
    else:
        if told:
            shown = table("file", "fault", "what was seen", "remedy")
            for fault in told:
                kind = fault.kind if fault.grave else f"{fault.kind} (odd)"
                shown.add_row(*map(escape, (fault.file, kind, fault.message, fault.remedy)))
            out.print(shown)
        out.print(f"{len(found)} cases, {grave} faults, {len(told) - grave} oddities.")
    if grave:
        raise typer.Exit(Exit.FOUND)

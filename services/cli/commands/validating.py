"""`atlas validate`: what is wrong with a folder of cases."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from services.cli.commands.options import Json
from services.cli.exits import Exit
from services.cli.output import counted, out, print_json, table
from services.cli.validation.folder import faults
from services.cli.validation.tree import cases_of, opened
from services.core.texts import amount


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("validate")(run)


def run(
    folder: Annotated[
        Path, typer.Argument(help="A release, or anybody's folder of cases in the BDMAP layout; or a tar file of one.")
    ],
    json: Json = False,
) -> None:
    """List what is wrong with a folder of cases in the BDMAP layout: our releases, and other people's.

    Files that are missing, altered, added or cannot be read; grids and headers that contradict each other; masks that
    are not binary, or missing where nearly all cases have one; combined labels that do not follow from the masks; scans
    that come twice, across the split of `metadata.csv` above all. What the anatomy allows is for `atlas check`.
    Needs no stack. A tar file, compressed or not, is unpacked case by case into the folder for temporary files.

    The exit code is 6 if anything is wrong; what is merely odd is told, and changes no exit code.

    Examples: `atlas validate releases/first` · `atlas validate first.tar` · `atlas validate AbdomenAtlas1.0Mini --json`
    """
    with opened(folder) as tree, counted("Validating") as progress:
        found = cases_of(tree)
        task = progress.add_task("", total=len(found))
        told = faults(tree, found, lambda case: progress.update(task, advance=1, description=case))
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
            kinds = Counter(fault.kind for fault in told).most_common()
            out.print(", ".join(f"{kind} {number}" for kind, number in kinds))
        odd = len(told) - grave
        oddities = "1 oddity" if odd == 1 else f"{odd} oddities"
        out.print(f"{amount(len(found), 'case')}, {amount(grave, 'fault')}, {oddities}.")
    if grave:
        raise typer.Exit(Exit.FOUND)

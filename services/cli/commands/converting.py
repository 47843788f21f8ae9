"""`atlas convert`: a folder of cases as nnU-Net reads it."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.commands.options import Json
from services.cli.conversion.cases import LaidOut, read_cases
from services.cli.conversion.nnunet import shared_organs, write_nnunet
from services.cli.exits import Exit
from services.cli.ingest.discover import Refusal
from services.cli.output import counted, out, print_json, show_error, warn
from services.core.texts import amount


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("convert")(run)


def run(
    folder: Annotated[Path, typer.Argument(help="A release, or anybody's folder of cases in the BDMAP layout.")],
    to: Annotated[Path, typer.Option(help="New folder in nnUNet_raw, such as nnUNet_raw/Dataset701_Atlas.")],
    organs: Annotated[
        str,
        typer.Option(
            help="Organs to learn, comma separated, in the order of their new ids. Default: those in all cases."
        ),
    ] = "",
    json: Json = False,
) -> None:
    """Convert a folder of cases into nnU-Net's raw layout. Needs no stack.

    nnU-Net takes for background what has no label, so a case in which one of the organs is unknown is left out and
    named. Cases that `metadata.csv` keeps for testing go to imagesTs and labelsTs. CTs are hard links where the file
    system allows it, so they take no room twice.

    Examples: `atlas convert releases/first --to nnUNet_raw/Dataset701_First` ·
    `atlas convert releases/first --to nnUNet_raw/Dataset702_Liver --organs liver,spleen`
    """
    class_map, found = read_cases(folder)
    cases = [case for case in found if isinstance(case, LaidOut)]
    refused = [case for case in found if isinstance(case, Refusal)]
    for refusal in refused:
        show_error(refusal.error, str(refusal.path))
    if refused and not any(case.masks for case in cases):
        raise typer.Exit(Exit.REFUSED)
    chosen = tuple(filter(None, (organ.strip() for organ in organs.split(","))))
    class_map.require(chosen, field="--organs")
    wanted = tuple(dict.fromkeys(chosen)) or shared_organs(cases, class_map.organs)
    with counted("Converting") as progress:
        task = progress.add_task("", total=len(cases))
        done = write_nnunet(cases, wanted, to, lambda case: progress.update(task, advance=1, description=case.name))
    for refusal in done.refused:
        show_error(refusal.error, str(refusal.path))
    refused += done.refused
    for name, lacking in done.left_out.items():
        warn(f"{name} is left out: {', '.join(lacking)} unknown in it.")
    if json:
        told = {"folder": str(to), "organs": wanted, "training": done.training, "testing": done.testing}
        print_json(told | {"left_out": done.left_out, "refused": [str(refusal.path) for refusal in refused]})
    else:
        out.print(
            f"{amount(done.training, 'case')} for training, {done.testing} for testing in {to}: {', '.join(wanted)}."
        )
    if refused:
        raise typer.Exit(Exit.REFUSED)

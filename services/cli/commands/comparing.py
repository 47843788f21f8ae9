"""`atlas compare`: two label versions of a volume, or two folders of cases."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from abdomenatlas.merging.v1 import merging_pb2 as pb
from services.cli.commands.options import STATE, Json, State
from services.cli.comparison.cases import METADATA, CaseMasks, find_cases, read_metadata
from services.cli.comparison.output import as_data, group_tables, organ_table, write_csv
from services.cli.comparison.rows import Refusal, Row, compare_cases
from services.cli.connection import Connection
from services.cli.exits import Exit
from services.cli.output import counted, out, print_json, show_error, warn
from services.core import classmaps
from services.core.errors import AtlasError, Reason
from services.core.metrics import Agreement
from services.core.metrics.nsd import DEFAULT_TOLERANCE_MM, require_tolerance
from services.core.metrics.tolerances import PRESETS

_SHOWN = 8
_TOLERANCE_HELP = (
    f'Tolerance of NSD in mm, "ORGAN=MM" for one organ, or those of a challenge: {", ".join(sorted(PRESETS))}. '
    "May be given several times; the last one counts."
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(run)


def run(
    first: Annotated[str, typer.Argument(metavar="REFERENCE", help="Label version or folder that is taken as right.")],
    second: Annotated[str, typer.Argument(metavar="OTHER", help="What is held against it; of the same kind.")],
    organ: Annotated[list[str] | None, typer.Option(help="This organ only; may be given several times.")] = None,
    tolerance: Annotated[list[str] | None, typer.Option(help=_TOLERANCE_HELP)] = None,
    class_map: Annotated[
        str, typer.Option(help="Class map with the organs' names, and the ids of combined_labels files.")
    ] = "abdomenatlas-1.1",
    metadata: Annotated[
        Path | None,
        typer.Option(
            help=f'CSV with a column "case" and "dataset" or "phase", for the groups; {METADATA} in REFERENCE.'
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write one line for each case and organ into this file.")] = None,
    state: State = STATE,
    json: Json = False,
) -> None:
    """Compare labels organ by organ: DSC, NSD, HD95 and volume; mean, spread, median and a 95 % interval of the mean.

    REFERENCE and OTHER are label versions of one volume (volumes/ID/labels/ID), or folders with
    CASE/segmentations/ORGAN.nii.gz, CASE/ORGAN.nii.gz or CASE/combined_labels.nii.gz, or one such case. A case or organ
    that only one side has is unknown on the other; it is named and not compared. Where the reference has no voxel of an
    organ the case is left out of the means and counted as absent (extra, if OTHER has some); where OTHER alone has none
    it is missed: DSC and NSD are 0, and there is no HD95. Groups by dataset, phase and slice thickness are shown where
    they differ. Cases whose grids differ are refused; the exit code is then 1.

    Examples: `atlas compare truth/ predicted/ --tolerance flare22 --csv rows.csv` · `atlas compare
    volumes/BDMAP_1/labels/A volumes/BDMAP_1/labels/B --json`
    """
    tolerances_mm = _tolerances_mm(tolerance or [])
    refused: list[Refusal] = []
    folders = Path(first), Path(second)
    if all(folder.is_dir() for folder in folders):
        rows = _compare_folders(folders, organ or [], tolerances_mm, class_map, metadata, refused)
    elif first.startswith("volumes/") and second.startswith("volumes/"):
        rows = _compare_versions(Connection.to(state), first, second, organ or [], tolerances_mm)
    else:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"{first} and {second} are neither two folders nor two label versions.",
            field="REFERENCE",
            remedy="Name two folders that exist, or volumes/ID/labels/ID twice.",
        )
    if csv:
        write_csv(csv, rows)
    if json:
        print_json({"first": first, "second": second, "refused": [_refusal(r) for r in refused], **as_data(rows)})
    else:
        out.print(organ_table(rows))
        for title, table in group_tables(rows):
            out.print(f"\n{title}")
            out.print(table)
    for refusal in refused:
        show_error(refusal.error, refusal.case)
    if refused:
        raise typer.Exit(Exit.REFUSED)


def _compare_folders(
    folders: tuple[Path, Path],
    organs: list[str],
    tolerances_mm: dict[str, float],
    class_map: str,
    metadata: Path | None,
    refused: list[Refusal],
) -> list[Row]:
    known = classmaps.load(class_map)
    known.require(organs, field="--organ")
    first, second = (find_cases(folder, known) for folder in folders)
    if len(first) == len(second) == 1:
        # Two single cases are the same one, whatever their folders are called.
        second = {next(iter(first)): next(iter(second.values()))}
    _tell("cases", folders[0], set(first) - set(second))
    _tell("cases", folders[1], set(second) - set(first))
    if metadata is None and (folders[0] / METADATA).is_file():
        metadata = folders[0] / METADATA
    if metadata:
        facts = read_metadata(metadata)
        first = {name: CaseMasks(c.masks, c.label_map, c.facts | facts.get(name, {})) for name, c in first.items()}
    rows: list[Row] = []
    with counted("Comparing") as progress:
        task = progress.add_task("", total=len(set(first) & set(second)))
        for found in compare_cases(first, second, known, organs, lambda organ: _tolerance(tolerances_mm, organ)):
            if isinstance(found, Refusal):
                refused.append(found)
            else:
                rows += found
            progress.update(task, advance=1)
    if not rows and not refused:
        raise AtlasError(
            Reason.FOLDER_EMPTY,
            f"{folders[0]} and {folders[1]} have no case with an organ in common.",
            field="OTHER",
            remedy="Cases are matched by the names of their folders.",
        )
    return rows


def _compare_versions(
    connection: Connection, first: str, second: str, organs: list[str], tolerances_mm: dict[str, float]
) -> list[Row]:
    request = pb.CompareRequest(
        first=first,
        second=second,
        organs=organs,
        tolerance_mm=_tolerance(tolerances_mm, ""),
        organ_tolerances_mm={organ: mm for organ, mm in tolerances_mm.items() if organ},
    )
    with counted("Comparing") as progress:
        task = progress.add_task("", total=1.0)
        for message in connection.merging.Compare(request):
            progress.update(task, completed=message.progress.fraction)
            if message.HasField("comparison"):
                break
        else:
            told = "The comparison ended without an answer."
            raise AtlasError(Reason.INTERNAL, told, field=first, remedy="Read merging's log.")
    _tell("organs", first, message.comparison.only_first)
    _tell("organs", second, message.comparison.only_second)
    return [Row(first.split("/")[1], organ.organ, _agreement(organ), {}) for organ in message.comparison.organs]


def _agreement(organ: pb.OrganAgreement) -> Agreement:
    one_empty = organ.HasField("dsc") and not organ.HasField("hd95_mm")
    return Agreement(
        dsc=organ.dsc if organ.HasField("dsc") else math.nan,
        nsd=organ.nsd if organ.HasField("nsd") else math.nan,
        tolerance_mm=organ.tolerance_mm,
        hd95_mm=organ.hd95_mm if organ.HasField("hd95_mm") else math.inf if one_empty else math.nan,
        first_ml=organ.first_ml,
        second_ml=organ.second_ml,
    )


def _tolerances_mm(given: list[str]) -> dict[str, float]:
    """Tolerances by organ, "" for all others. Raises FIELD_INVALID."""
    result: dict[str, float] = {}
    for text in given:
        organ, _, number = text.rpartition("=")
        if text in PRESETS:
            result |= PRESETS[text]
            continue
        try:
            result[organ] = float(number)
        except ValueError as error:
            raise AtlasError(
                Reason.FIELD_INVALID,
                f"{text[:64]!r} is no tolerance.",
                field="--tolerance",
                remedy=f'Use "2", "liver=5" or {" or ".join(sorted(PRESETS))}.',
            ) from error
        require_tolerance(result[organ], field="--tolerance")
    return result


def _tolerance(tolerances_mm: dict[str, float], organ: str) -> float:
    return tolerances_mm.get(organ, tolerances_mm.get("", DEFAULT_TOLERANCE_MM))


def _tell(what: str, where: object, names: Iterable[str]) -> None:
    """Say what only one side has."""
    if listed := sorted(names):
        more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
        warn(f"{len(listed)} {what} that only {where} has are not compared: {', '.join(listed[:_SHOWN])}{more}")


def _refusal(refusal: Refusal) -> dict[str, str]:
    error = refusal.error
    return {"case": refusal.case, "reason": error.reason.value, "field": error.field, "message": error.message}

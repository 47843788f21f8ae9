"""`atlas import`: CTs and their source labels into storage."""

import difflib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from services.cli.commands.options import STATE, Json, State
from services.cli.connection import Connection
from services.cli.exits import Exit
from services.cli.ingest.case_table import unmatched
from services.cli.ingest.dataset_folder import discover_dataset, of_dataset
from services.cli.ingest.discover import Case, Refusal, discover, stem
from services.cli.ingest.duplicates import described
from services.cli.ingest.importer import Imported, Source, import_case
from services.cli.output import as_data, out, print_json, printable, show_error, table, transfer, warn
from services.cli.reimport.case import import_released
from services.cli.reimport.folder import ReleasedCase, is_release, released_cases
from services.core import classmaps, datasets
from services.core.errors import AtlasError, Reason
from services.core.names import require_id
from services.core.storage import OnProgress

_NAMED = 5
"""Rows that one message names."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(run)


def run(
    paths: Annotated[list[Path], typer.Argument(help="CT files, case folders, folders of case folders, or datasets.")],
    state: State = STATE,
    dataset: Annotated[
        str,
        typer.Option(
            help="Dataset that the cases come from. One that `atlas datasets` lists is taken in its own layout, with "
            "its own ids; any other name is kept as it is."
        ),
    ] = "",
    licence: Annotated[
        str, typer.Option(help="Licence of the dataset, such as CC-BY-4.0; default: what is known of it.")
    ] = "",
    case_table: Annotated[
        Path | None,
        typer.Option(help="CSV file with the columns case, hospital, licence and phase, for a dataset that is known."),
    ] = None,
    class_map: Annotated[
        str, typer.Option(help="Class map of organ names and label ids.", rich_help_panel="Labels")
    ] = classmaps.DEFAULT,
    label_map: Annotated[
        Path | None,
        typer.Option(help="Label map of the one CT file that is imported.", rich_help_panel="Labels"),
    ] = None,
    looked_for: Annotated[
        str,
        typer.Option(
            help="Organs that the source of a label map looked for, comma separated; those of them that are not in it "
            "are absent, all others unknown. Default: those that occur in it.",
            rich_help_panel="Labels",
        ),
    ] = "",
    volume_id: Annotated[
        str, typer.Option("--id", help="Volume id of the one case that is imported; default: its name.")
    ] = "",
    json: Json = False,
) -> None:
    """Import CTs and the labels that their source gave.

    A case is a folder with `ct.nii.gz` and, where organs are labelled, `segmentations/<organ>.nii.gz` or else
    `combined_labels.nii.gz`. A case goes in whole or not at all: what is refused is named with the reason and the
    remedy, its case stays out, and the other cases go in. Importing the same files again changes nothing.

    A dataset that `atlas datasets` lists may lie in its own layout, in nnU-Net's raw folders, in the Decathlon's, or as
    case folders. Its labels become our organs: tumours count as their organ, un-split kidneys and lungs are split, and
    what it did not look for stays unknown.

    A release that `atlas export` wrote brings its own records: volumes and labels keep their names, masks their
    origins.

    Examples: `atlas import scan.nii.gz` · `atlas import ~/amos22 --dataset amos22`
    """
    organs = classmaps.load(class_map)
    looked = tuple(filter(None, (organ.strip() for organ in looked_for.split(","))))
    organs.require(looked, field="--looked-for")
    _require_no_slip(dataset)
    found: list[Case | Refusal] = []
    for path in paths:
        if is_release(path):
            _require_untold(path, dataset or licence or looked_for or volume_id or label_map or case_table)
            found += released_cases(path)
        else:
            found += _discover(path, organs, dataset, case_table)
    if case_table:
        _warn_of_unmatched(case_table, found)
    found = _with_options(found, label_map, volume_id, dataset)
    connection = Connection.to(state)
    source = Source(dataset, licence, class_map, looked)
    done = list(import_all(connection, found, source))
    _show(done, json)
    if any(entry.refusals if isinstance(entry, Imported) else True for entry in done):
        raise typer.Exit(Exit.REFUSED)


def _require_no_slip(dataset: str) -> None:
    """Raise FIELD_INVALID for a name that is nearly one that we know: its labels would be read by other ids."""
    near = difflib.get_close_matches(dataset.lower(), datasets.names(), n=1, cutoff=0.75)
    if dataset and dataset not in datasets.names() and near:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"There is no dataset {dataset!r}; did you mean {near[0]}?",
            field="--dataset",
            remedy=f"Write {near[0]}, or give a dataset of your own a name that is not taken for it.",
        )


def _require_untold(release: Path, told: object) -> None:
    """Raise FIELD_INVALID if the command line tells something of the cases of a release."""
    if told:
        raise AtlasError(
            Reason.FIELD_INVALID,
            "This is a release, which tells by itself what its cases and labels are.",
            field=str(release),
            remedy="Import it without --dataset, --licence, --case-table, --label-map, --looked-for and --id.",
        )


def _discover(
    path: Path, organs: classmaps.ClassMap, dataset: str, case_table: Path | None
) -> Iterator[Case | Refusal]:
    """The cases below a path, in the layout of a dataset that we know or as case folders."""
    known = datasets.load(dataset) if dataset in datasets.names() else None
    if known is None or not path.is_dir():
        if case_table:
            raise AtlasError(
                Reason.FIELD_INVALID,
                "A case table belongs to the folder of a dataset that is known.",
                field="--case-table",
                remedy="Name one that `atlas datasets` lists.",
            )
        for entry in discover(path, organs):
            yield of_dataset(entry, known) if known and isinstance(entry, Case) else entry
        return
    found = discover_dataset(path, known, organs, case_table)
    if found.left_out:
        warn(f"{path}: {found.left_out} images were left out: {' '.join(known.notes) or 'they are no CTs of it.'}")
    beyond = [organ for organ in known.organs if organ not in organs.organs]
    if beyond and any(isinstance(entry, Case) for entry in found.entries):
        remedy = "--class-map abdomenatlas-1.1 has them, for campaigns whose models speak of that map"
        warn(f"{path}: {organs.name} has no {', '.join(beyond)}; {remedy}.")
    yield from found.entries


def _warn_of_unmatched(case_table: Path, found: list[Case | Refusal]) -> None:
    """Warn of rows that tell nothing of any case. Raises FIELD_INVALID if no row does."""
    left = unmatched(case_table, {entry.source_id for entry in found if isinstance(entry, Case)})
    if left:
        more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        warn(f"{case_table}: of no case that was found: {', '.join(left[:_NAMED])}{more}.")


def import_all(connection: Connection, found: list[Case | Refusal], source: Source) -> Iterator[Imported | Refusal]:
    """Import every case, with a progress bar, and name what is refused as it happens."""
    with transfer() as progress:
        for number, entry in enumerate(found, start=1):
            if isinstance(entry, Refusal):
                show_error(entry.error, str(entry.path))
                yield entry
                continue
            bars = _Bars(progress, f"{number}/{len(found)}")
            if isinstance(entry, ReleasedCase):
                result = import_released(connection.storage, entry, bars)
            else:
                result = import_case(connection.storage, entry, source, bars)
            for refusal in result.refusals:
                show_error(refusal.error, str(refusal.path))
            for warning in _warnings(result, source):
                warn(warning)
            yield result


def _warnings(result: Imported, source: Source) -> Iterator[str]:
    """What was taken, or left, although it is odd."""
    for note in [*(result.volume.notes if result.volume else ()), *(result.labels.notes if result.labels else ())]:
        yield f"{result.case.ct}: {note}"
    for pair in result.duplicates:
        yield f"{result.case.ct}: {described(pair)}. A release keeps them on one side of its split."
    if result.labels and result.case.label_map and not result.case.dataset_map:
        yield f"{result.case.label_map}: its ids were read as those of {source.class_map}; --dataset names another map."
    if result.case.ignored:
        names = ", ".join(stem(path) for path in result.case.ignored)
        organs = ", ".join(classmaps.load(source.class_map).organs)
        yield f"{result.case.ct}: not imported: {names}. Organs of {source.class_map} are named {organs}."


class _Bars:
    """One bar at a time, for the file that is on its way."""

    def __init__(self, progress: Progress, count: str) -> None:
        self._progress, self._count = progress, count

    def __call__(self, path: Path) -> OnProgress:
        for task in self._progress.task_ids:
            self._progress.remove_task(task)
        name = printable("/".join(path.parts[-2:]))
        task = self._progress.add_task(f"{self._count} {name}", total=path.stat().st_size)
        return lambda moved: self._progress.advance(task, moved)


def _with_options(
    found: list[Case | Refusal], label_map: Path | None, volume_id: str, dataset: str
) -> list[Case | Refusal]:
    """The cases as the options tell them; a label map takes the place of the case's own labels."""
    if label_map is None and not volume_id:
        return found
    if len(found) != 1:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"These belong to one case, {len(found)} were named.",
            field="--label-map or --id",
            remedy="Import the case by itself.",
        )
    case = found[0]
    if isinstance(case, Refusal):
        return found
    if volume_id:
        case = replace(case, volume_id=require_id(volume_id, "--id"))
    if label_map:
        # It has the ids of the dataset if that is known, as the label map of a folder has.
        known = dataset if dataset in datasets.names() else ""
        case = replace(case, label_map=label_map, masks={}, refused=(), dataset_map=known)
    return [case]


def _show(done: list[Imported | Refusal], json: bool) -> None:
    if json:
        print_json([_data(entry) for entry in done])
        return
    summary = table("Volume", "Voxels", "Labels", "Ignored", "Refused", right=("Refused",))
    for entry in done:
        if isinstance(entry, Refusal):
            summary.add_row(printable(str(entry.path)), "", "", "", "1")
            continue
        shape = "x".join(map(str, entry.volume.geometry.shape)) if entry.volume else "refused"
        labels = ", ".join(organ.organ for organ in entry.labels.organs) if entry.labels else "none"
        ignored = printable(", ".join(stem(path) for path in entry.case.ignored))
        summary.add_row(entry.case.volume_id, shape, labels, ignored, str(len(entry.refusals) or ""))
    out.print(summary)
    out.print(_summed(done))


def _summed(done: list[Imported | Refusal]) -> str:
    """How many cases went in, and what kept others out."""
    inside = sum(isinstance(entry, Imported) and entry.volume is not None for entry in done)
    files = sum(len(entry.refusals) if isinstance(entry, Imported) else 1 for entry in done)
    refused = f" Files or folders refused: {files}; their cases stay out, each goes in whole or not at all."
    return f"Cases in storage: {inside}.{refused if files else ''}"


def _data(entry: Imported | Refusal) -> dict[str, Any]:
    if isinstance(entry, Refusal):
        return {"path": str(entry.path), "volume": None, "refused": [_refusal(entry)]}
    return {
        "path": str(entry.case.ct),
        "volume": entry.volume.name if entry.volume else None,
        "label_version": entry.labels.name if entry.labels else None,
        "organs": [organ.organ for organ in entry.labels.organs] if entry.labels else [],
        "notes": [*(entry.volume.notes if entry.volume else ()), *(entry.labels.notes if entry.labels else ())],
        "duplicates": [as_data(pair) for pair in entry.duplicates],
        "ignored": [str(path) for path in entry.case.ignored],
        "refused": [_refusal(refusal) for refusal in entry.refusals],
    }


def _refusal(refusal: Refusal) -> dict[str, str]:
    error = refusal.error
    return {
        "path": str(refusal.path),
        "reason": error.reason.value,
        "message": error.message,
        "remedy": error.remedy,
    }

"""`atlas benchmark`: the paper's table, networks trained inside and outside the hospital that they are tested in."""

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.commands.options import Json
from services.cli.ingest.discover import Case, Refusal, discover
from services.cli.output import counted, out, print_json, say, show_error
from services.core import classmaps
from services.core.errors import AtlasError, Reason

_SYNTHETIC = "synthetic:"
_NETWORKS = ("swinunetr", "unetr", "unet", "segresnet")
_NEEDED = ("torch", "monai", "matplotlib")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("benchmark")(run)


def run(
    a: Annotated[str, typer.Argument(help="Dataset to train on.", metavar="A")],
    b: Annotated[str, typer.Argument(help="Dataset to train on; some of its cases are held out.", metavar="B")],
    outside: Annotated[
        list[str] | None, typer.Argument(help="Datasets that are tested only.", metavar="[C]...", show_default=False)
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="Network to train, of the folder or the zoo (paper_unet); may be given several times. "
            f"Default: {', '.join(_NETWORKS)}."
        ),
    ] = None,
    models: Annotated[Path, typer.Option(help="Folder with the networks' cards.", exists=True, file_okay=False)] = Path(
        "models"
    ),
    folder: Annotated[Path, typer.Option("--out", help="What is written, and taken up again.")] = Path("benchmark-out"),
    minutes: Annotated[float, typer.Option(help="Time of each training.", min=0.001)] = 25,
    steps: Annotated[
        int | None, typer.Option(help="Steps of each training, in fifties, instead of a time: these can be repeated.")
    ] = None,
    working_factor: Annotated[
        int | None,
        typer.Option(help="Train at so many times the grid's spacing instead of the card's: coarse is quick.", max=4),
    ] = None,
    window: Annotated[
        tuple[int, int, int] | None, typer.Option(help="Window in working voxels instead of the card's, slices first.")
    ] = None,
    cases: Annotated[int, typer.Option(help="Training cases of a synthetic dataset.", min=1, max=5000)] = 60,
    hold_out: Annotated[
        int, typer.Option(help="Cases of B that are tested; as many of a synthetic C.", min=2, max=5000)
    ] = 12,
    rate: Annotated[float, typer.Option(help="Peak learning rate.", min=1e-6, max=0.1)] = 1e-3,
    seed: Annotated[int, typer.Option(help="Of weights, crops and the hold-out.", min=0)] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.", min=1, max=256)] = 2,
    class_map: Annotated[str, typer.Option(help="Class map of organ names and label ids.")] = classmaps.DEFAULT,
    json: Json = False,
) -> None:
    """Train networks on A and on B, and test both on cases of B that were held out, and on every C.

    A dataset is a folder of cases as `atlas import` takes and `atlas export` writes them, or synthetic:HOSPITAL, or
    several hospitals in turn, such as synthetic:native+arterial. Written are the table (benchmark.md), every case
    (cases.csv), paired tests corrected by Holm (comparisons.csv), a plot, and the trained networks as model folders.
    It needs no stack, takes a GPU where there is one, and goes on where it was cut off if it is called again.

    Examples: `atlas benchmark synthetic:native+arterial+stout synthetic:portal /data/c --minutes 10` ·
    `atlas benchmark /data/atlas /data/ours --network unet --out ours-out`
    """
    _require_libraries()
    outside = outside or []
    every = [a, b, *outside]
    plan = {
        "out": str(folder),
        "networks": [str(models / name) for name in network or _NETWORKS],
        "class_map": class_map,
        "a": {"name": _name(a, every), **_dataset(a, "A", class_map, cases)},
        "b": {"name": _name(b, every), **_dataset(b, "B", class_map, cases + hold_out)},
        "outside": [{"name": _name(one, every), **_dataset(one, "C", class_map, hold_out)} for one in outside],
        "working_factor": working_factor,
        "window": window,
        "hold_out": hold_out,
        "steps": steps,
        "minutes": None if steps else minutes,
        "rate": rate,
        "seed": seed,
        "threads": threads,
    }
    report = _carried_out(plan)
    if json:
        print_json({"report": str(report), "plot": str(report.with_name("benchmark.png"))})
    else:
        out.print(report.read_text(encoding="utf-8"), soft_wrap=True)


def _require_libraries() -> None:
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise AtlasError(
            Reason.DEPENDENCY_UNAVAILABLE,
            f"Training needs {', '.join(missing)}.",
            field="benchmark",
            remedy="pip install 'abdomenatlas[training]'",
        )


def _name(given: str, every: Sequence[str]) -> str:
    """What a dataset is called: a folder by its last name, and by those above it where another folder has the same."""
    if given.startswith(_SYNTHETIC):
        return given
    parts = Path(given).resolve().parts
    others = {Path(one).resolve().parts for one in every} - {parts}
    count = next(n for n in range(1, len(parts) + 1) if all(other[-n:] != parts[-n:] for other in others))
    return str(Path(*parts[-count:]))


def _dataset(given: str, field: str, class_map: str, synthetic_cases: int) -> dict[str, Any]:
    """What the dataset holds, for the plan. Raises FOLDER_EMPTY."""
    if given.startswith(_SYNTHETIC):
        return {"hospitals": given.removeprefix(_SYNTHETIC).split("+"), "count": synthetic_cases}
    found = []
    for entry in discover(Path(given), classmaps.load(class_map)):
        for refusal in [entry] if isinstance(entry, Refusal) else entry.refused:
            show_error(refusal.error, str(refusal.path))
        if isinstance(entry, Case) and (entry.masks or entry.label_map):
            found.append(entry)
    if not found:
        raise AtlasError(
            Reason.FOLDER_EMPTY,
            f"{given} has no case with labels.",
            field=field,
            remedy="Name a folder of cases, or synthetic:HOSPITAL.",
        )
    return {"cases": [_files(case) for case in found]}


def _files(case: Case) -> dict[str, Any]:
    return {
        "name": case.volume_id,
        "ct": str(case.ct.resolve()),
        "masks": {organ: str(path.resolve()) for organ, path in case.masks.items()},
        "label_map": str(case.label_map.resolve()) if case.label_map else None,
    }


def _carried_out(plan: dict[str, Any]) -> Path:
    """Run the benchmark in a process of its own, because it needs what this command does not; the report's path."""
    command = [sys.executable, "-m", "services.serving.benchmark"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(plan))
        process.stdin.close()
        with counted("Benchmark") as progress:
            task, doing = progress.add_task("", total=1.0), ""
            for line in process.stdout:
                told = json.loads(line)
                if "report" in told:
                    return Path(told["report"])
                if "error" in told:
                    error = told["error"]
                    raise AtlasError(
                        Reason(error["reason"]), error["message"], field=error["field"], remedy=error["remedy"]
                    )
                progress.update(task, description=told["doing"], completed=told["done"])
                if progress.disable and told["doing"] != doing:
                    doing = told["doing"]
                    say(doing)
    raise AtlasError(
        Reason.INTERNAL,
        f"The benchmark ended with code {process.returncode}.",
        field="benchmark",
        remedy="Its output above says why; called again, it goes on where it ended.",
    )

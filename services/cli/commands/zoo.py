"""`atlas models`: which networks there are, ones to train, and published ones brought in."""

import json as json_format
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.markup import escape

from services.cli.commands.options import Json
from services.cli.commands.stack import Models
from services.cli.exits import exit_code
from services.cli.output import out, print_json, say, show_error, table
from services.cli.stack.plan import default_models
from services.core.errors import AtlasError, Reason

group = typer.Typer(
    no_args_is_help=True, help="The networks that are served, the zoo's cards, and weights from elsewhere."
)
_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="models")


@group.command("list")
def list_(models: Models = None, json: Json = False) -> None:
    """List the models of the repository, and the cards of the zoo: networks to train, and published ones to import.

    Example: `atlas models list`
    """
    answer = _answer(["list", str(_repository(models))])
    if json:
        print_json(answer)
        return
    rows = table("Model", "Network", "Version", "Organs", "Grid", "Window", "Mean DSC", right=("Organs",))
    for card in answer["models"]:
        rows.add_row(*_row(card))
    for card in answer["zoo"]:
        rows.add_row(f"{card['name']} (zoo)", *_row(card)[1:])
    out.print(rows)


@group.command()
def show(
    name: Annotated[str, typer.Argument(help="A model of the repository, or a card of the zoo.")],
    models: Models = None,
    json: Json = False,
) -> None:
    """Print a model's card, as YAML: what it is, what it takes, where its weights come from, what it reaches.

    Example: `atlas models show suprem_unet > my-card.yaml`
    """
    answer = _answer(["list", str(_repository(models))])
    cards = [*answer["models"], *answer["zoo"]]
    card = next((card for card in cards if card["name"] == name), None)
    if card is None:
        known = ", ".join(dict.fromkeys(card["name"] for card in cards))
        raise AtlasError(
            Reason.MODEL_NOT_FOUND, f"There is no model {name[:80]!r}.", field="NAME", remedy=f"There are: {known}."
        )
    if "error" in card:
        raise _error(card["error"])
    if json:
        print_json(card)
    else:
        typer.echo(
            yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None), nl=False
        )


@group.command()
def add(
    card: Annotated[str, typer.Argument(help='A card of the zoo without weights, such as "paper_unet".')],
    name: Annotated[str, typer.Option(help="What the model is called here: letters, digits and _.")],
    models: Models = None,
    json: Json = False,
) -> None:
    """Add a network of the zoo to the model repository, to be trained there; until then it is not served.

    Example: `atlas models add paper_unet --name ours`, then `atlas training start ours --from-the-beginning` and
    `atlas models promote ours 1`
    """
    answer = _answer(["add", card, str(_repository(models)), "--name", name])
    if json:
        print_json(answer)
    else:
        say(f"{name}: added without weights; train it with `atlas training start {name} --from-the-beginning`.")


@group.command("import")
def import_(
    source: Annotated[
        Path,
        typer.Argument(help="A checkpoint or TorchScript file; or a MONAI bundle, nnU-Net result or model folder."),
    ],
    name: Annotated[str, typer.Option(help="What the model is called here: letters, digits and _.")],
    card: Annotated[
        str,
        typer.Option(help="Card of a single file: a name of the zoo, or a YAML file. By default the one that fits."),
    ] = "",
    organ: Annotated[
        list[str] | None,
        typer.Option(help='"ORGAN=CLASS": the number or name of its channel. May be repeated. Not for a model folder.'),
    ] = None,
    labels: Annotated[
        str, typer.Option(help="Class map or dataset whose label ids a single file's channels follow (atlas datasets).")
    ] = "",
    class_map: Annotated[str, typer.Option(help="Serve only the organs of this class map, and under it.")] = "",
    axes: Annotated[
        str, typer.Option(help="Where the network's axes point, such as RAS or SAR. Not for a model folder.")
    ] = "",
    grid: Annotated[
        float,
        typer.Option(min=0, help="Edge in mm of the grid that a bundle or nnU-Net result answers on; 0 is what fits."),
    ] = 0.0,
    checkpoint: Annotated[
        str, typer.Option(help="File within a bundle or nnU-Net result, such as fold_0/checkpoint_best.pth.")
    ] = "",
    sha256: Annotated[str, typer.Option(help="What the file must hash to.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the weights, for the card.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of a model of that name.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what matches.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Show every name, not only what does not match.")] = False,
    models: Models = None,
    json: Json = False,
) -> None:
    """Bring published weights into the model repository, matched by name, with a card and a folder that Triton serves.

    Nothing that comes with the file is run: pickles and TorchScript give their tensors alone, a bundle's Python is not
    evaluated. A model is written beside the others, must answer for one window, and only then takes its place.

    Examples: `atlas models import supervised_suprem_unet_2100.pth --name suprem_unet --class-map abdomenatlas-1.0` ·
    `atlas models import nnUNetTrainer__nnUNetPlans__3d_fullres --name amos --axes SAR --dry-run`
    """
    wishes = {
        "name": name,
        "card": card,
        "organs": _organs(organ or []),
        "labels": labels,
        "class_map": class_map,
        "axes": axes.upper(),
        "grid_mm": grid,
        "checkpoint": checkpoint,
        "sha256": sha256,
        "licence": licence,
    }
    words = ["import", str(source), str(_repository(models)), "--wishes", json_format.dumps(wishes)]
    words += ["--replace"] * replace + ["--dry-run"] * dry_run
    answer = _answer(words, raising=False)
    error = _error(answer["error"]) if "error" in answer else None
    if json:
        print_json(answer)
    elif "names" in answer:
        _tell(answer, every)
    if error:
        show_error(error)
        raise typer.Exit(exit_code(error))
    if not json:
        say(f"{name}: {_said(dry_run, replace, name)}.")


def _said(dry_run: bool, replace: bool, name: str) -> str:
    if dry_run:
        return "would be imported"
    if replace:
        return "imported; a stack that serves its model of that name goes over when it is started again"
    return f"imported; a stack that is started finds it, and `atlas models promote {name} 1` serves it in one that runs"


def _tell(answer: dict[str, Any], every: bool) -> None:
    """What matched, what did not, and why."""
    names = answer["names"]
    matched = [entry for entry in names if entry["verdict"] == "matched"]
    others = [entry for entry in names if entry["verdict"] != "matched"]
    card = answer["card"]
    place = f"{answer['table']}, " if answer["table"] else ""
    out.print(
        f"{answer['layout']} -> {card['network']['architecture']}, {len(card['organs'])} organs, {card['class_map']}"
    )
    out.print(f"{len(matched)} of {len(names)} names match ({place}prefix {answer['prefix']!r}).")
    if others or every:
        rows = table("Name", "Their name", "Shape", "Their shape", "Verdict", "Why")
        for entry in names if every else others[:_SHOWN]:
            shapes = ("x".join(map(str, entry[key])) for key in ("shape", "their_shape"))
            rows.add_row(*map(escape, (entry["ours"], entry["theirs"], *shapes, entry["verdict"], entry["why"])))
        out.print(rows)
        if not every and len(others) > _SHOWN:
            out.print(f"... and {len(others) - _SHOWN} more; --all shows them.")
    for note in answer["notes"]:
        say(f"note: {note}")


def _row(card: dict[str, Any]) -> list[str]:
    if "error" in card:
        return [card["name"], "not served", card["error"]["message"], "", "", "", ""]
    reaches = card.get("reaches") or []
    return [
        card["name"],
        card["network"]["architecture"],
        card["label"],
        str(len(card["organs"])),
        f"{card['grid_spacing_mm']:g} mm",
        "x".join(map(str, card["window"])),
        f"{reaches[0]['mean_dsc']:.3f}" if reaches else "",
    ]


def _organs(given: Sequence[str]) -> dict[str, str]:
    organs = dict(text.partition("=")[::2] for text in given)
    if not all(organs.values()):
        raise AtlasError(
            Reason.FIELD_INVALID,
            "An organ has no class.",
            field="--organ",
            remedy="Write ORGAN=CLASS, such as liver=5.",
        )
    return organs


def _repository(models: Path | None) -> Path:
    return (models or default_models()).resolve()


def _answer(words: Sequence[str], *, raising: bool = True) -> dict[str, Any]:
    """What the serving library says, in a process of its own: networks are loaded only there.

    Raises what it refused, and DEPENDENCY_UNAVAILABLE if it is not installed here.
    """
    command = [sys.executable, "-m", "services.serving.imports", *words]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    try:
        answer: dict[str, Any] = json_format.loads(done.stdout)
    except ValueError as error:
        last = done.stderr.strip().splitlines()[-1:] or [f"it ended with code {done.returncode}"]
        is_missing = "No module named" in last[0]
        raise AtlasError(
            Reason.DEPENDENCY_UNAVAILABLE if is_missing else Reason.INTERNAL,
            f"The networks' library failed: {last[0][:300]}",
            field="serving",
            remedy="pip install 'abdomenatlas[serving]'" if is_missing else "",
        ) from error
    if raising and "error" in answer:
        raise _error(answer["error"])
    return answer


def _error(data: dict[str, str]) -> AtlasError:
    return AtlasError(Reason(data["reason"]), data["message"], field=data["field"], remedy=data["remedy"])

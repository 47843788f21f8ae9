"""`atlas store-model`: networks into storage, from where Triton's pods fetch them."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from services.cli.commands.options import STATE, Json, State
from services.cli.connection import Connection
from services.cli.output import print_json
from services.core import modelarchive


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("store-model")(run)


def run(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of a Triton repository.", exists=True, file_okay=False)
    ],
    state: State = STATE,
    json: Json = False,
) -> None:
    """Store folders of a Triton repository, and print the digest by which the chart's values name each.

    Storing the same folder again changes nothing and prints the same digest.

    Examples: `atlas store-model models/my-unet`
    """
    storage = Connection.to(state).storage
    stored = []
    for folder in folders:
        with tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch) / "model.tar"
            modelarchive.pack(folder.resolve(), archive)
            digest = storage.put_file(archive, keep=True).name.removeprefix("objects/")
        stored.append({"name": folder.resolve().name, "sha256": digest})
    if json:
        print_json(stored)
        return
    for model in stored:
        typer.echo(f"- {{name: {model['name']}, sha256: {model['sha256']}}}")

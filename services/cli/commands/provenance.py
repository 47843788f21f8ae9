"""`atlas provenance`: where voxels of a model went."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.commands.options import STATE, Json, State, campaign_name
from services.cli.connection import Connection
from services.cli.model_uses import Use, in_release, in_storage
from services.cli.output import out, print_json, table
from services.core import classmaps
from services.core.errors import AtlasError, Reason


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("provenance")(run)


def run(
    model: Annotated[str, typer.Argument(help='"unet" for all of its versions, or "models/unet/versions/1".')],
    organ: Annotated[str, typer.Option(help="This organ only.")] = "",
    dataset: Annotated[str, typer.Option(help="Only volumes of this dataset.")] = "",
    campaign: Annotated[
        str, typer.Option(help="Only the labels that this campaign would release now (`atlas export`).")
    ] = "",
    release: Annotated[
        Path | None, typer.Option(file_okay=False, exists=True, help="A release's folder instead; needs no stack.")
    ] = None,
    every_version: Annotated[
        bool, typer.Option("--every-version", help="Older label versions of a volume too, not only the newest.")
    ] = False,
    state: State = STATE,
    json: Json = False,
) -> None:
    """List the cases and organs whose labels hold AI voxels of a model, in the newest merged labels of each volume.

    Examples: `atlas provenance unet --organ pancreas --campaign spring` · `atlas provenance unet --release release/`
    """
    if organ:
        classmaps.fitting([organ]).require([organ], field="--organ")
    request = pb.ListModelUsesRequest(
        model=model if model.startswith("models/") else f"models/{model}",
        organ=organ,
        dataset=dataset,
        newest=not (every_version or campaign),
    )

    def found(asked: pb.ListModelUsesRequest, campaign: str = "") -> Iterator[Use]:
        return in_release(release, asked) if release else in_storage(Connection.to(state), asked, campaign)

    uses = list(found(request, campaign_name(campaign) if campaign else ""))
    if not uses and next(found(pb.ListModelUsesRequest(model=request.model)), None) is None:
        # A misspelt name must not read as "nothing to recall".
        raise AtlasError(
            Reason.MODEL_NOT_FOUND,
            f"No labels, of whatever case, hold voxels of {request.model}.",
            field="MODEL",
            remedy="Is that its name, and its version? `atlas models served` lists those that are served.",
        )
    if json:
        print_json([use.as_data() for use in uses])
        return
    rows = table("Case", "Organ", "Model", "ml", "Label version", right=("ml",))
    for use in uses:
        version = use.label_version.rsplit("/", 1)[1]
        rows.add_row(use.case, use.organ, use.model.removeprefix("models/"), f"{use.volume_ml:.1f}", version)
    if uses:
        out.print(rows)
    out.print(f"{len(uses)} organs in {len({use.case for use in uses})} cases hold voxels of {model}.")

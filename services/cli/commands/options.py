"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.connection import DEFAULT_STATE
from services.core.names import require_id

State = Annotated[
    Path, typer.Option("--state", envvar="ATLAS_STATE", help="State folder of the stack.", show_default=".atlas")
]
STATE = DEFAULT_STATE
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Campaign = Annotated[str, typer.Argument(help="Name of the campaign.", metavar="CAMPAIGN")]


def campaign_name(given: str) -> str:
    """Resource name of a campaign that was given as "name" or "campaigns/name"."""
    return f"campaigns/{require_id(given.removeprefix('campaigns/'), 'campaign')}"


def volume_name(given: str) -> str:
    """Resource name of a volume that was given as "id" or "volumes/id"."""
    return f"volumes/{require_id(given.removeprefix('volumes/'), 'volume')}"

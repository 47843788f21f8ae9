"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.connection import DEFAULT_STATE
from services.core.errors import AtlasError
from services.core.names import parse, require_id

State = Annotated[
    Path, typer.Option("--state", envvar="ATLAS_STATE", help="State folder of the stack.", show_default=".atlas")
]
STATE = DEFAULT_STATE
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Campaign = Annotated[str, typer.Argument(help="Name of the campaign.", metavar="CAMPAIGN")]


def campaign_name(given: str) -> str:
    """Resource name of a campaign that was given as "name" or "campaigns/name"."""
    return f"campaigns/{require_id(given.removeprefix('campaigns/'), 'campaign')}"


def review_name(given: str) -> str:
    """Resource name of a review that was given as "campaign/review" or "campaigns/campaign/reviews/review"."""
    is_full = given.startswith("campaigns/")
    try:
        campaign, review = parse(given, "campaigns/*/reviews/*" if is_full else "*/*", "REVIEW")
    except AtlasError as error:
        remedy = 'Use a name such as "spring/r1-1", as `atlas review list` shows it.'
        raise AtlasError(error.reason, error.message, field=error.field, remedy=remedy) from error
    return f"campaigns/{campaign}/reviews/{review}"


def short_review(name: str) -> str:
    """A review's name as people type it, "campaign/review": `review_name` takes it back."""
    return name.removeprefix("campaigns/").replace("/reviews/", "/")


def volume_name(given: str) -> str:
    """Resource name of a volume that was given as "id" or "volumes/id"."""
    return f"volumes/{require_id(given.removeprefix('volumes/'), 'volume')}"

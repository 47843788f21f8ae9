"""`atlas campaign`: create, watch, list, next-round, cancel."""

from typing import Annotated

import typer

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.campaign_display import show_progress, state_name, summary
from services.cli.commands.options import STATE, Campaign, Json, State, campaign_name, volume_name
from services.cli.connection import Connection
from services.cli.exits import Exit
from services.cli.output import as_data, out, print_json, table
from services.cli.paging import every
from services.cli.watching import follow
from services.core.errors import AtlasError, Reason
from services.core.names import content_id

_app = typer.Typer(no_args_is_help=True, help="Run campaigns: predict, score, merge, rank, review.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_app, name="campaign")


@_app.command()
def create(
    campaign: Campaign,
    volumes: Annotated[list[str] | None, typer.Option(help="A volume; may be given many times.")] = None,
    dataset: Annotated[str, typer.Option(help="All volumes of this dataset.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="All volumes in storage.")] = False,
    models: Annotated[
        list[str] | None,
        typer.Option(help='A model such as "unet" or "models/unet/versions/1"; default: every one that is ready.'),
    ] = None,
    profile: Annotated[str, typer.Option(help="Attention profile.")] = "parity",
    review_share: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the volumes sent to review; default: 0.05.")
    ] = None,
    state: State = STATE,
    json: Json = False,
) -> None:
    """Start a campaign over volumes in storage; it goes on without this command.

    Running the command again with the same options gives the same campaign.

    Examples: `atlas campaign create first --all` · `atlas campaign create amos --dataset amos22 --review-share 0.05`
    """
    connection = Connection.to(state)
    request = sched.CreateCampaignRequest(
        campaign_id=campaign_name(campaign).removeprefix("campaigns/"),
        volumes=_chosen(connection, volumes or [], dataset, everything),
        models=[_model_name(model) for model in models or []],
        profile=profile,
        review_share=review_share,
    )
    request.request_id = content_id(request.SerializeToString(deterministic=True).hex())
    created = connection.scheduler.CreateCampaign(request).campaign
    if json:
        print_json(as_data(created))
    else:
        out.print(f"{created.name}: {created.volume_count} volumes, {len(created.models)} models.")
        out.print(f"Follow it with `atlas campaign watch {campaign}`.")


@_app.command()
def watch(
    campaign: Campaign,
    after: Annotated[int, typer.Option(min=0, help="Show only events after this number.")] = 0,
    state: State = STATE,
    json: Json = False,
) -> None:
    """Follow a campaign until it rests: in review, done, or cancelled. Dropped connections are made again.

    With --json every event is one line. Ends with code 1 if volumes failed.
    """
    scheduler = Connection.to(state).scheduler
    messages = follow(scheduler, campaign_name(campaign), after=after)
    if json:
        for message in messages:
            print_json(as_data(message.event))
    else:
        show_progress(messages)
    final = scheduler.GetCampaign(sched.GetCampaignRequest(name=campaign_name(campaign))).campaign
    if not json:
        out.print(summary(final))
    if final.failed_count:
        raise typer.Exit(Exit.REFUSED)


@_app.command("list")
def list_(state: State = STATE, json: Json = False) -> None:
    """List campaigns, newest first."""
    campaigns = list(every(Connection.to(state).scheduler.ListCampaigns, sched.ListCampaignsRequest(), "campaigns"))
    if json:
        print_json([as_data(campaign) for campaign in campaigns])
        return
    numbers = ("Round", "Volumes", "Ready", "Failed", "Open reviews")
    rows = table("Campaign", "State", *numbers, right=numbers)
    for c in campaigns:
        counts = (c.round, c.volume_count, c.ready_count, c.failed_count, c.open_review_count)
        rows.add_row(c.name.removeprefix("campaigns/"), state_name(c), *map(str, counts))
    out.print(rows)


@_app.command("next-round")
def next_round(campaign: Campaign, state: State = STATE, json: Json = False) -> None:
    """Start the next round of a campaign whose reviews are all done."""
    name, scheduler = campaign_name(campaign), Connection.to(state).scheduler
    current = scheduler.GetCampaign(sched.GetCampaignRequest(name=name)).campaign.round
    # Named, so that a repetition after a lost answer cannot start one more.
    _tell(scheduler.StartRound(sched.StartRoundRequest(name=name, round=current + 1)).campaign, json)


@_app.command()
def cancel(campaign: Campaign, state: State = STATE, json: Json = False) -> None:
    """Close a campaign: its open reviews are withdrawn; what it made stays."""
    request = sched.CancelCampaignRequest(name=campaign_name(campaign))
    _tell(Connection.to(state).scheduler.CancelCampaign(request).campaign, json)


def _chosen(connection: Connection, volumes: list[str], dataset: str, everything: bool) -> list[str]:
    if sum(map(bool, (volumes, dataset, everything))) != 1:
        raise AtlasError(
            Reason.FIELD_REQUIRED,
            "Which volumes?",
            field="--volumes, --dataset or --all",
            remedy="Give exactly one of the three.",
        )
    if volumes:
        return [volume_name(volume) for volume in volumes]
    found = every(connection.storage.rpc.ListVolumes, pb.ListVolumesRequest(dataset=dataset), "volumes")
    names = [volume.name for volume in found]
    if not names:
        raise AtlasError(
            Reason.FIELD_INVALID,
            "Storage has no volumes" + (f" of the dataset {dataset!r}." if dataset else "."),
            field="--dataset" if dataset else "--all",
            remedy="Import some with `atlas import`.",
        )
    return names


def _model_name(given: str) -> str:
    return given if given.startswith("models/") else f"models/{given}/versions/1"


def _tell(campaign: sched.Campaign, json: bool) -> None:
    if json:
        print_json(as_data(campaign))
    else:
        out.print(summary(campaign))

"""`atlas campaign`: create, watch, show, list, next-round, audit, cancel."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.scheduler.v1 import training_pb2 as pb_training
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli import merge_words, selftest, tuning
from services.cli.campaign_display import show_progress, state_name, summary
from services.cli.campaign_report import STRATEGIES, report_lines
from services.cli.commands.options import STATE, Campaign, Json, State, campaign_name, volume_name
from services.cli.commands.plan_options import TUNING_MINUTES, Epochs, HeldOut, Margin, naming_flags
from services.cli.connection import Connection
from services.cli.exits import Exit, exit_code
from services.cli.ingest.duplicates import told_shared
from services.cli.output import as_data, out, print_json, say, table, warn
from services.cli.paging import every
from services.cli.watching import follow
from services.core.errors import AtlasError, Reason
from services.core.names import content_id
from services.core.texts import amount

group = typer.Typer(no_args_is_help=True, help="Run campaigns: predict, score, merge, rank, review.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="campaign")


@group.command()
def create(
    campaign: Campaign,
    volumes: Annotated[list[str] | None, typer.Option(help="A volume; may be given many times.")] = None,
    dataset: Annotated[str, typer.Option(help="All volumes of this dataset.")] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="All volumes in storage but that of the self-test.")
    ] = False,
    models: Annotated[
        list[str] | None,
        typer.Option(help='A model such as "unet" or "models/unet/versions/1"; default: every one that is ready.'),
    ] = None,
    profile: Annotated[str, typer.Option(help="Attention profile; default: the scheduler's.")] = "",
    strategy: Annotated[
        str, typer.Option(help=f"Which volumes are reviewed first: by {', '.join(STRATEGIES)}.")
    ] = "priority",
    review_share: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of the volumes sent to review in a round; default: 0.05. 1 with a budget."
        ),
    ] = None,
    budget_cases: Annotated[
        int | None, typer.Option(min=1, help="Volumes reviewed in all rounds, audits apart.")
    ] = None,
    budget_minutes: Annotated[
        float | None, typer.Option(min=1, help="Reviewers' minutes in all rounds, audits apart.")
    ] = None,
    control_share: Annotated[
        float, typer.Option(min=0.01, max=0.5, help="Share of the reviews drawn by lot, for comparison.")
    ] = 0.1,
    audit_target: Annotated[
        float,
        typer.Option(
            help="Share of wrong cases, among those not reviewed before an audit, and of failed volumes, among all, "
            "up to which the campaign is finished."
        ),
    ] = 0.05,
    audit_confidence: Annotated[float, typer.Option(help="How sure of that, over all audits together.")] = 0.95,
    audit_tolerance: Annotated[
        float, typer.Option(help="Share of a case's labelled tissue that may be wrong before the case counts as wrong.")
    ] = 0.0,
    merge: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help=merge_words.HELP)] = None,
    state: State = STATE,
    json: Json = False,
) -> None:
    """Start a campaign over volumes in storage; it goes on without this command.

    Running the command again with the same options gives the same campaign.

    Examples: `atlas campaign create first --all` · `atlas campaign create amos --dataset amos22 --review-share 0.05` ·
    `atlas campaign create deep --all --strategy error-per-minute --budget-minutes 600 --audit-target 0.02` ·
    `atlas campaign create truth --all --merge overwrite=reassign --merge fusion=majority`
    """
    connection = Connection.to(state)
    request = sched.CreateCampaignRequest(
        campaign_id=campaign_name(campaign).removeprefix("campaigns/"),
        volumes=_chosen(connection, volumes or [], dataset, everything),
        models=[_model_name(model) for model in models or []],
        profile=profile,
        review_share=review_share,
        strategy=_strategy(strategy),
        control_share=control_share,
        audit_policy=sched.AuditPolicy(
            target_error_share=audit_target, confidence=audit_confidence, tolerance=audit_tolerance
        ),
        merge_policy=merge_words.policy(merge or []),
    )
    _set_budget(request, budget_cases, budget_minutes)
    _warn_of_duplicates(connection, request.volumes)
    request.request_id = content_id(request.SerializeToString(deterministic=True).hex())
    created = connection.scheduler.CreateCampaign(request).campaign
    if json:
        print_json(as_data(created))
    else:
        out.print(f"{created.name}: {amount(created.volume_count, 'volume')}, {amount(len(created.models), 'model')}.")
        out.print(f"Follow it with `atlas campaign watch {campaign}`.")


@group.command()
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


@group.command("list")
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


@group.command("next-round")
def next_round(
    campaign: Campaign,
    newest: Annotated[
        bool, typer.Option("--newest", help="Work with the newest version of each model, as `tune` left it.")
    ] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Tune the models first, as `tune` does, and work with the newest versions.")
    ] = False,
    minutes: Annotated[
        int | None, typer.Option(min=1, help="Minutes of tuning for each model.", show_default=str(TUNING_MINUTES))
    ] = None,
    epochs: Epochs = 0,
    margin: Margin = 0.0,
    held_out: HeldOut = 0.0,
    state: State = STATE,
    json: Json = False,
) -> None:
    """Start the next round of a campaign whose reviews are all done.

    With --tune it waits for the tuning of each model, and starts no round if one fails: the same command goes on. A
    version that lost something is kept, and the round works with the one that is served. Models that were tuned and
    promoted on the same labels are not trained again.

    Examples: `atlas campaign next-round spring --newest` · `atlas campaign next-round spring --tune --minutes 60`
    """
    plan = pb_training.TrainingPlan(minutes=minutes or 0, epochs=epochs, margin=margin, held_out=held_out)
    if not tune:
        _require_empty(plan)
    connection = Connection.to(state)
    name, scheduler = campaign_name(campaign), connection.scheduler
    current = scheduler.GetCampaign(sched.GetCampaignRequest(name=name)).campaign
    if tune:
        # As `tune` says it, so that the two are one training.
        plan.minutes = plan.minutes or TUNING_MINUTES
        _tune_first(connection, current, plan)
    models = tuning.models_of(current) if newest or tune else ()
    # Named, so that a repetition after a lost answer cannot start one more.
    request = sched.StartRoundRequest(name=name, round=current.round + 1, models=models)
    _tell(scheduler.StartRound(request).campaign, json)


@group.command()
def show(campaign: Campaign, state: State = STATE, json: Json = False) -> None:
    """Show what the reviews have brought: both arms, the gain over drawing by lot, the budget and the audits."""
    name, scheduler = campaign_name(campaign), Connection.to(state).scheduler
    found = scheduler.GetCampaign(sched.GetCampaignRequest(name=name)).campaign
    report = scheduler.GetCampaignReport(sched.GetCampaignReportRequest(name=name)).report
    if json:
        print_json({"campaign": as_data(found), "report": as_data(report)})
        return
    out.print(summary(found))
    for line in report_lines(found, report):
        out.print(line)


@group.command()
def audit(
    campaign: Campaign,
    cases: Annotated[
        int, typer.Option(min=0, help="Size of the sample; default: as many as it takes if none is wrong.")
    ] = 0,
    state: State = STATE,
    json: Json = False,
) -> None:
    """Ask for a look at a random sample of the unseen volumes, to find out whether the campaign may stop.

    `atlas campaign show` tells how many cases that takes, and afterwards what they prove.
    """
    name, scheduler = campaign_name(campaign), Connection.to(state).scheduler
    current = scheduler.GetCampaign(sched.GetCampaignRequest(name=name)).campaign.audit_count
    # Named, so that a repetition after a lost answer cannot draw another sample.
    request = sched.StartAuditRequest(name=name, number=current + 1, case_count=cases)
    _tell(scheduler.StartAudit(request).campaign, json)


@group.command()
def cancel(campaign: Campaign, state: State = STATE, json: Json = False) -> None:
    """Close a campaign: its open reviews are withdrawn; what it made stays."""
    request = sched.CancelCampaignRequest(name=campaign_name(campaign))
    _tell(Connection.to(state).scheduler.CancelCampaign(request).campaign, json)


def _require_empty(plan: pb_training.TrainingPlan) -> None:
    """Refuse what says how to tune, for nothing is tuned."""
    for field, value in plan.ListFields():
        flag = f"--{field.name.replace('_', '-')}"
        message = f"Nothing is tuned, so {flag} {value:g} would do nothing."
        raise AtlasError(Reason.FIELD_INVALID, message, field=flag, remedy="Add --tune.")


def _tune_first(connection: Connection, campaign: sched.Campaign, plan: pb_training.TrainingPlan) -> None:
    """Tune, or end with the reason of the first model that failed."""
    if campaign.state != sched.Campaign.STATE_ROUND_DONE:
        # Before hours of training, not after them.
        raise AtlasError(
            Reason.CAMPAIGN_STATE,
            f"{campaign.name} is {state_name(campaign)}, so no round can follow yet.",
            field="--tune",
            remedy="Finish its reviews first: `atlas review list`.",
        )
    with naming_flags():
        tuned = tuning.tune(connection, campaign, plan)
    for one in tuned.models:
        why = "" if one.served else f", not served: {' '.join(one.result.reasons) or one.why_not}"
        say(f"{one.model}: version {one.result.version}{why}")
    if tuned.failed:
        raise typer.Exit(exit_code(tuned.failed[0]))


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
    names = [volume.name for volume in found if dataset or volume.dataset != selftest.DATASET]
    if not names:
        raise AtlasError(
            Reason.FIELD_INVALID,
            "Storage has no volumes" + (f" of the dataset {dataset!r}." if dataset else "."),
            field="--dataset" if dataset else "--all",
            remedy="Import some with `atlas import`.",
        )
    return names


def _warn_of_duplicates(connection: Connection, volumes: Sequence[str]) -> None:
    if len(volumes) < 2:
        return
    groups = every(connection.storage.rpc.ListDuplicateGroups, pb.ListDuplicateGroupsRequest(), "groups")
    try:
        told = told_shared(volumes, groups)
    except AtlasError as error:
        warn(f"Whether a scan is among them twice is not known: {error}")
        return
    if told:
        warn(f"{told} A scan may be reviewed twice: `atlas volumes withdraw` one before creating a campaign.")


def _strategy(given: str) -> sched.Campaign.Strategy.ValueType:
    if given not in STRATEGIES:
        remedy = f"There are: {', '.join(STRATEGIES)}."
        raise AtlasError(Reason.FIELD_INVALID, f"There is no strategy {given!r}.", field="--strategy", remedy=remedy)
    return STRATEGIES[given]


def _set_budget(request: sched.CreateCampaignRequest, cases: int | None, minutes: float | None) -> None:
    if cases is not None and minutes is not None:
        raise AtlasError(
            Reason.FIELD_INVALID,
            "A budget is in cases or in minutes.",
            field="--budget-cases and --budget-minutes",
            remedy="Give one of the two.",
        )
    if cases is not None:
        request.budget_cases = cases
    if minutes is not None:
        request.budget_time.FromTimedelta(timedelta(minutes=minutes))


def _model_name(given: str) -> str:
    return given if given.startswith("models/") else f"models/{given}"


def _tell(campaign: sched.Campaign, json: bool) -> None:
    if json:
        print_json(as_data(campaign))
    else:
        out.print(summary(campaign))

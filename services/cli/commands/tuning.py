"""`atlas campaign tune`, and `atlas models served`, `promote` and `rollback`."""

from typing import Annotated

import typer

from abdomenatlas.inference.v1 import inference_pb2 as inf
from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.scheduler.v1 import training_pb2 as pb
from services.cli import trainings
from services.cli.commands import campaigns, zoo
from services.cli.commands.options import STATE, Campaign, Json, State, campaign_name
from services.cli.commands.plan_options import (
    TUNING_MINUTES,
    Batch,
    Epochs,
    HeldOut,
    Margin,
    Rate,
    Seed,
    Whole,
    naming_flags,
)
from services.cli.connection import Connection
from services.cli.exits import exit_code
from services.cli.output import as_data, out, print_json, table
from services.cli.paging import every
from services.cli.tuning import Tuned
from services.cli.tuning import tune as tune_models

Version = Annotated[int, typer.Argument(min=1, help="Number of the version.")]
Name = Annotated[str, typer.Argument(help='A model, such as "unet".', metavar="MODEL")]


def register(app: typer.Typer) -> None:
    """Add the commands to the groups that the other modules made."""
    campaigns.group.command()(tune)
    zoo.group.command()(served)
    zoo.group.command()(promote)
    zoo.group.command()(rollback)


def tune(
    campaign: Campaign,
    models: Annotated[list[str] | None, typer.Option("--model", help="Tune only this model of the campaign.")] = None,
    minutes: Annotated[int, typer.Option(min=1, help="Minutes of training for each model.")] = TUNING_MINUTES,
    epochs: Epochs = 0,
    seed: Seed = 0,
    whole: Whole = False,
    margin: Margin = 0.0,
    held_out: HeldOut = 0.0,
    rate: Rate = 0.0,
    batch: Batch = 0,
    no_promote: Annotated[
        bool, typer.Option("--no-promote", help="Keep the new versions, but do not serve them.")
    ] = False,
    state: State = STATE,
    json: Json = False,
) -> None:
    """Tune a campaign's models on what its reviewers revised, and serve each new version that lost nothing.

    A version is compared with the one that is served on volumes that nothing is ever trained on; it is served only if
    no organ regresses. `atlas campaign next-round --newest` then works with it.

    Examples: `atlas campaign tune spring` · `atlas campaign tune spring --model unet --minutes 60 --no-promote`
    """
    connection = Connection.to(state)
    request = sched.GetCampaignRequest(name=campaign_name(campaign))
    plan = pb.TrainingPlan(
        minutes=minutes,
        epochs=epochs,
        seed=seed,
        whole=whole,
        margin=margin,
        held_out=held_out,
        rate=rate,
        batch=batch,
    )
    wanted = [f"models/{model.removeprefix('models/')}" for model in models or []]
    with naming_flags():
        tuning = tune_models(
            connection, connection.scheduler.GetCampaign(request).campaign, plan, models=wanted, promotes=not no_promote
        )
    _tell_tuned(tuning.models, json)
    if tuning.failed:
        raise typer.Exit(exit_code(tuning.failed[0]))


def served(state: State = STATE, json: Json = False) -> None:
    """List the versions of models that Triton serves. Who names no version gets the newest."""
    models = list(every(Connection.to(state).inference.ListModels, inf.ListModelsRequest(), "models"))
    if json:
        print_json([as_data(model) for model in models])
        return
    rows = table("Model", "Network", "Organs", "State", "Weights", right=("Organs",))
    for model in models:
        fate = "superseded" if model.superseded else "newest" if model.ready else model.not_ready_reason
        rows.add_row(model.name, model.architecture, str(len(model.organs)), fate, model.weights_sha256[:12])
    out.print(rows)


def promote(model: Name, version: Version, state: State = STATE, json: Json = False) -> None:
    """Serve a version that lost nothing beside the one that is newest; no call in flight is disturbed.

    Example: `atlas models promote unet 2`
    """
    _tell(trainings.promote(Connection.to(state).inference, f"models/{model.removeprefix('models/')}", version), json)


def rollback(
    model: Name,
    to: Annotated[int, typer.Option(min=0, help="Version to go back to; default: the one before the newest.")] = 0,
    state: State = STATE,
    json: Json = False,
) -> None:
    """Go back to an earlier version of a model; later ones are no longer served.

    Example: `atlas models rollback unet`
    """
    name = f"models/{model.removeprefix('models/')}" + (f"/versions/{to}" if to else "")
    _tell(trainings.rollback(Connection.to(state).inference, name), json)


def _tell(model: inf.Model, json: bool) -> None:
    if json:
        print_json(as_data(model))
    else:
        out.print(f"{model.name} is the newest that is served, weights {model.weights_sha256[:12]}.")


def _tell_tuned(results: list[Tuned], json: bool) -> None:
    if json:
        print_json([{"model": one.model, "served": one.served, **as_data(one.result)} for one in results])
        return
    rows = table("Model", "Version", "Served", "Why not", right=("Version",))
    for one in results:
        why = "" if one.served else " ".join(one.result.reasons) or one.why_not
        rows.add_row(one.model, str(one.result.version), "yes" if one.served else "no", why)
    out.print(rows)

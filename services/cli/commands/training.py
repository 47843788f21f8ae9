"""`atlas training`: start, list, show, cancel."""

from typing import Annotated

import typer

from abdomenatlas.scheduler.v1 import training_pb2 as pb
from services.cli.commands.options import STATE, Json, State
from services.cli.commands.plan_options import Batch, Epochs, HeldOut, Margin, Rate, Seed, Whole, naming_flags
from services.cli.connection import Connection
from services.cli.output import as_data, out, print_json, table

_app = typer.Typer(no_args_is_help=True, help="Train networks where the installation has a place for it.")

Name = Annotated[str, typer.Argument(metavar="TRAINING", help="A training, as the list names it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_app, name="training")


@_app.command()
def start(
    model: Annotated[
        str,
        typer.Argument(
            help='A model that is served, such as "unet", or from the beginning one that `atlas models add` made.'
        ),
    ],
    from_the_beginning: Annotated[
        bool, typer.Option("--from-the-beginning", help="On all labels, instead of the served weights on revisions.")
    ] = False,
    whole: Whole = False,
    organs: Annotated[list[str] | None, typer.Option("--organ", help="An organ to learn; default: all.")] = None,
    volumes: Annotated[list[str] | None, typer.Option("--volume", help="A volume; default: all.")] = None,
    epochs: Epochs = 0,
    minutes: Annotated[int, typer.Option(min=0, help="Minutes instead of epochs; 0: 25 of them.")] = 0,
    seed: Seed = 0,
    margin: Margin = 0.0,
    held_out: HeldOut = 0.0,
    rate: Rate = 0.0,
    batch: Batch = 0,
    state: State = STATE,
    json: Json = False,
) -> None:
    """Start the training of a model's next version; it goes on without this command.

    The same again gives the same training; if it has ended, it is done again for what people have labelled since.

    Examples: `atlas training start unet` · `atlas training start unet --from-the-beginning --epochs 200`
    """
    plan = pb.TrainingPlan(
        from_the_beginning=from_the_beginning,
        whole=whole,
        organs=organs or [],
        volumes=[f"volumes/{volume.removeprefix('volumes/')}" for volume in volumes or []],
        epochs=epochs,
        minutes=minutes,
        seed=seed,
        margin=margin,
        held_out=held_out,
        rate=rate,
        batch=batch,
    )
    request = pb.StartTrainingRequest(model=f"models/{model.removeprefix('models/')}", plan=plan)
    with naming_flags():
        training = Connection.to(state).scheduler.StartTraining(request).training
    _tell(training, json)


@_app.command("list")
def list_(state: State = STATE, json: Json = False) -> None:
    """List trainings, newest first. Those that ended long ago are forgotten."""
    found = Connection.to(state).scheduler.ListTrainings(pb.ListTrainingsRequest()).trainings
    if json:
        print_json([as_data(training) for training in found])
        return
    rows = table("Training", "Model", "State", "Version", "May be served", "Message", right=("Version",))
    for training in found:
        done = training.HasField("result")
        rows.add_row(
            training.name.removeprefix("trainings/"),
            training.model.removeprefix("models/"),
            _state(training),
            str(training.result.version) if done else "",
            ("yes" if training.result.promotable else "no") if done else "",
            " ".join(training.result.reasons) if done else training.message,
        )
    out.print(rows)


@_app.command()
def show(training: Name, state: State = STATE, json: Json = False) -> None:
    """Show a training; of one that is done also the entry of `triton.models.load` in the chart's values."""
    request = pb.GetTrainingRequest(name=_name(training))
    _tell(Connection.to(state).scheduler.GetTraining(request).training, json)


@_app.command()
def cancel(training: Name, state: State = STATE) -> None:
    """End a training, or forget one that has ended: started again, it goes on from its last checkpoint."""
    Connection.to(state).scheduler.CancelTraining(pb.CancelTrainingRequest(name=_name(training)))


def _tell(training: pb.Training, json: bool) -> None:
    if json:
        print_json(as_data(training))
        return
    name, model = training.name.removeprefix("trainings/"), training.model.removeprefix("models/")
    out.print(f"{name}: {model}, {_state(training)}{f', {training.message}' if training.message else ''}")
    if not training.HasField("result"):
        return
    result = training.result
    verdict = "may be served" if result.promotable else f"should not be served: {' '.join(result.reasons)}"
    out.print(f"Version {result.version} {verdict}")
    for note in result.notes:
        out.print(note)
    if result.sha256:
        out.print(f"- {{name: {model}, sha256: {result.sha256}}}")


def _state(training: pb.Training) -> str:
    return pb.Training.State.Name(training.state).removeprefix("STATE_").lower()


def _name(training: str) -> str:
    return f"trainings/{training.removeprefix('trainings/')}"

"""What the calls about trainings do: blocking functions from request to response."""

import json
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict

from abdomenatlas.scheduler.v1 import training_pb2 as pb
from services.core import names
from services.core.access import identity
from services.core.errors import AtlasError, Reason
from services.scheduler.trainings import ENDED, State, Training, TrainingRunner

_MAX_VOLUMES, _MAX_ORGANS = 2000, 256
_MAX_EPOCHS, _MAX_MINUTES = 100_000, 60 * 24 * 30
_MOST_HELD_OUT, _MAX_BATCH = 0.9, 64
_WAIT_SECONDS = 5


class TrainingCalls:
    """Trainings, where this installation has a place for them."""

    def __init__(self, runner: TrainingRunner | None) -> None:
        self._runner = runner

    def start(self, request: pb.StartTrainingRequest) -> pb.StartTrainingResponse:
        """StartTraining."""
        runner = self._place()
        started = runner.start(MessageToDict(request), arguments(request, runner.repository), identity.actor())
        return pb.StartTrainingResponse(training=_message(started))

    def get(self, request: pb.GetTrainingRequest) -> pb.GetTrainingResponse:
        """GetTraining."""
        return pb.GetTrainingResponse(training=self._get(request.name))

    def list_trainings(self, request: pb.ListTrainingsRequest) -> pb.ListTrainingsResponse:
        """ListTrainings."""
        return pb.ListTrainingsResponse(trainings=[_message(found) for found in self._place().all()])

    def watch(self, name: str, known: pb.Training | None) -> tuple[pb.Training, bool]:
        """The training once it is another than the one known, or after some seconds; and whether it has ended."""
        if known is not None:
            self._place().wait(_id(name), _WAIT_SECONDS)
        found = self._get(name)
        return found, State(found.state) in ENDED

    def cancel(self, request: pb.CancelTrainingRequest) -> pb.CancelTrainingResponse:
        """CancelTraining."""
        self._place().cancel(_id(request.name))
        return pb.CancelTrainingResponse()

    def _get(self, name: str) -> pb.Training:
        return _message(self._place().get(_id(name)))

    def _place(self) -> TrainingRunner:
        if self._runner is None:
            raise AtlasError(
                Reason.TRAINING_FAILED,
                "This installation has no place for trainings.",
                field="model",
                remedy="Set training.enabled in the chart's values, or run `python -m services.serving.training`.",
            )
        return self._runner


def arguments(request: pb.StartTrainingRequest, repository: str) -> list[str]:
    """Of `python -m services.serving.training`. Raises FIELD_REQUIRED, FIELD_INVALID or NAME_INVALID."""
    (model,), plan = names.parse(request.model, "models/*", "model"), request.plan
    # Ids begin with a letter or digit, so none of them can be taken for an option.
    organs = [names.require_id(organ, "plan.organs") for organ in plan.organs]
    volumes = [f"volumes/{names.parse(volume, 'volumes/*', 'plan.volumes')[0]}" for volume in plan.volumes]
    for field, value, most in (
        ("organs", len(organs), _MAX_ORGANS),
        ("volumes", len(volumes), _MAX_VOLUMES),
        ("epochs", plan.epochs, _MAX_EPOCHS),
        ("minutes", plan.minutes, _MAX_MINUTES),
        ("margin", plan.margin, 1),
        ("held_out", plan.held_out, _MOST_HELD_OUT),
        ("rate", plan.rate, 1),
        ("batch", plan.batch, _MAX_BATCH),
    ):
        if not 0 <= value <= most:
            message = f"From 0 to {most}, not {value:g}."
            raise AtlasError(Reason.FIELD_INVALID, message, field=f"plan.{field}", remedy="Name a value within.")
    given = ["train" if plan.from_the_beginning else "tune", f"{repository}/{model}", "--seed", str(plan.seed)]
    if plan.whole and not plan.from_the_beginning:
        given.append("--whole")
    if plan.epochs:
        given += ["--epochs", str(plan.epochs)]
    elif plan.minutes:
        given += ["--minutes", str(plan.minutes)]
    for option in ("margin", "held_out", "rate", "batch"):
        if value := getattr(plan, option):
            given += [f"--{option.replace('_', '-')}", repr(value)]
    return given + _many("--organs", organs) + _many("--volumes", volumes)


def _many(option: str, values: list[str]) -> list[str]:
    return [option, *sorted(set(values))] if values else []


def _id(name: str) -> str:
    return names.parse(name, "trainings/*", "name")[0]


def _message(training: Training) -> pb.Training:
    asked = ParseDict(dict(training.plan), pb.StartTrainingRequest(), ignore_unknown_fields=True)
    message = pb.Training(
        name=f"trainings/{training.id}",
        model=asked.model,
        plan=asked.plan,
        actor=training.actor,
        state=pb.Training.State.ValueType(training.state),
    )
    message.create_time.FromDatetime(training.create_time)
    if training.end_time:
        message.end_time.FromDatetime(training.end_time)
    if training.state == State.DONE:
        said = _said(training.message)
        message.result.CopyFrom(
            pb.TrainingResult(
                version=said.get("version", 0),
                promotable=said.get("promoted", False),
                reasons=said.get("reasons", []),
                sha256=said.get("sha256", ""),
                notes=said.get("notes", []),
            )
        )
    else:
        message.message = training.message
    return message


def _said(text: str) -> dict[str, Any]:
    """What the lines of JSON in the text say together; lines that are none are left out."""
    said: dict[str, Any] = {}
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        said |= found if isinstance(found, dict) else {}
    return said

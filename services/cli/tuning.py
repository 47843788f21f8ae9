"""A campaign's models, tuned one after the other, and promoted where they lost nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.scheduler.v1 import training_pb2 as pb
from services.cli import trainings
from services.cli.connection import Connection
from services.cli.output import say, show_error
from services.core.errors import AtlasError


@dataclass
class Tuned:
    """What became of one model: its new version, and whether it is served."""

    model: str
    result: pb.TrainingResult
    served: bool = False
    why_not: str = ""


@dataclass
class Tuning:
    """What became of all of them. Those that failed have been told."""

    models: list[Tuned] = field(default_factory=list)
    failed: list[AtlasError] = field(default_factory=list)


def tune(
    connection: Connection,
    campaign: sched.Campaign,
    plan: pb.TrainingPlan,
    *,
    models: Sequence[str] = (),
    promotes: bool = True,
) -> Tuning:
    """Tune the campaign's models, or those of `models`, by `plan` on the volumes that its reviewers revised.

    Raises TRAINING_DATA where nothing was revised, and what refuses the plan itself, which is that of all of them. What
    becomes of one model stops no other.
    """
    volumes = trainings.revised_volumes(connection.scheduler, campaign.name)
    plan.volumes.extend(volumes)
    tuning = Tuning()
    for model in models or models_of(campaign):
        say(f"{model}: tuning on {len(volumes)} revised volumes")
        try:
            followed = trainings.followed(connection.scheduler, model, plan, lambda line: say(f"  {line}"))
            tuning.models.append(Tuned(model, followed.result))
            _promote(connection, tuning.models[-1], promotes)
        except AtlasError as error:
            if error.field.startswith("plan."):
                raise
            show_error(error)
            tuning.failed.append(error)
    return tuning


def models_of(campaign: sched.Campaign) -> list[str]:
    """The campaign's models without their versions."""
    return list(dict.fromkeys(model.partition("/versions/")[0] for model in campaign.models))


def _promote(connection: Connection, one: Tuned, promotes: bool) -> None:
    for note in one.result.notes:
        say(f"  {note}")
    if not promotes:
        one.why_not = "not asked for"
    elif one.result.promotable:
        one.why_not = f"not promoted yet: atlas models promote {one.model[7:]} {one.result.version}"
        trainings.promote(connection.inference, one.model, one.result.version)
        one.served = True

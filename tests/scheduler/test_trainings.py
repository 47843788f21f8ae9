"""The calls about trainings: what they refuse, and what they pass on."""

from typing import Any

import pytest

from abdomenatlas.scheduler.v1 import training_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.scheduler.training_calls import TrainingCalls, arguments

FOLDER = ["/repository/unet", "--seed", "0"]


@pytest.mark.parametrize(
    ("plan", "wanted"),
    [
        (pb.TrainingPlan(), ["tune", *FOLDER]),
        (pb.TrainingPlan(whole=True, epochs=3, minutes=7), ["tune", *FOLDER, "--whole", "--epochs", "3"]),
        (pb.TrainingPlan(from_the_beginning=True, whole=True, minutes=7), ["train", *FOLDER, "--minutes", "7"]),
        (
            pb.TrainingPlan(margin=0.01, held_out=0.3, rate=1e-5, batch=2),
            ["tune", *FOLDER, "--margin", "0.01", "--held-out", "0.3", "--rate", "1e-05", "--batch", "2"],
        ),
        (
            pb.TrainingPlan(organs=["spleen", "liver", "liver"], volumes=["volumes/b", "volumes/a"]),
            ["tune", *FOLDER, "--organs", "liver", "spleen", "--volumes", "volumes/a", "volumes/b"],
        ),
    ],
)
def test_a_plan_becomes_the_arguments_of_the_training_command(plan: pb.TrainingPlan, wanted: list[str]) -> None:
    """The order of organs and volumes means nothing, so it makes no other training."""
    assert arguments(pb.StartTrainingRequest(model="models/unet", plan=plan), "/repository") == wanted


@pytest.mark.parametrize(
    ("model", "plan", "reason", "field"),
    [
        ("", {}, Reason.FIELD_REQUIRED, "model"),
        ("models/../etc", {}, Reason.NAME_INVALID, "model"),
        ("models/unet", {"organs": ["--cache=/etc"]}, Reason.NAME_INVALID, "plan.organs"),
        ("models/unet", {"volumes": ["volumes/--seed"]}, Reason.NAME_INVALID, "plan.volumes"),
        ("models/unet", {"epochs": 100_001}, Reason.FIELD_INVALID, "plan.epochs"),
        ("models/unet", {"minutes": 43_201}, Reason.FIELD_INVALID, "plan.minutes"),
        ("models/unet", {"margin": -0.1}, Reason.FIELD_INVALID, "plan.margin"),
        ("models/unet", {"held_out": 0.91}, Reason.FIELD_INVALID, "plan.held_out"),
        ("models/unet", {"rate": float("nan")}, Reason.FIELD_INVALID, "plan.rate"),
        ("models/unet", {"batch": 65}, Reason.FIELD_INVALID, "plan.batch"),
        ("models/unet", {"organs": ["o"] * 257}, Reason.FIELD_INVALID, "plan.organs"),
        ("models/unet", {"volumes": ["volumes/v"] * 2001}, Reason.FIELD_INVALID, "plan.volumes"),
    ],
)
def test_what_is_no_plan_is_refused_by_the_field(model: str, plan: dict[str, Any], reason: Reason, field: str) -> None:
    with pytest.raises(AtlasError) as raised:
        arguments(pb.StartTrainingRequest(model=model, plan=pb.TrainingPlan(**plan)), "/repository")
    assert (raised.value.reason, raised.value.field) == (reason, field)


def test_without_a_place_for_trainings_the_calls_say_so() -> None:
    calls = TrainingCalls(None)
    with pytest.raises(AtlasError, match=r"This installation has no place.*training\.enabled"):
        calls.start(pb.StartTrainingRequest(model="models/unet"))
    with pytest.raises(AtlasError, match="no place"):
        calls.list_trainings(pb.ListTrainingsRequest())

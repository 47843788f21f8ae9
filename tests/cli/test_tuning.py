"""`atlas campaign tune`: what it trains on, and that it follows a training to its end."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import typer
from typer.testing import CliRunner

from abdomenatlas.inference.v1 import inference_pb2 as inf
from abdomenatlas.inference.v1.inference_pb2_grpc import (
    InferenceServiceServicer,
    InferenceServiceStub,
    add_InferenceServiceServicer_to_server,
)
from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.scheduler.v1 import training_pb2 as pb
from services.cli import trainings
from services.cli.commands import campaigns, tuning, zoo
from services.cli.commands.plan_options import naming_flags
from services.cli.connection import Connection
from services.core.errors import AtlasError, Reason
from services.core.rpc.client import connect
from services.scheduler import training_calls

PLAN = pb.TrainingPlan(epochs=1)
NAME = "trainings/t"


class Scheduler:
    """Answers with these reviews, and with one state of the training after the other."""

    def __init__(self, *states: pb.Training, reviews: tuple[sched.Review, ...] = ()) -> None:
        self.states, self.reviews = list(states), reviews

    def ListReviews(self, request: sched.ListReviewsRequest) -> sched.ListReviewsResponse:  # noqa: N802
        return sched.ListReviewsResponse(reviews=self.reviews)

    def StartTraining(self, request: pb.StartTrainingRequest) -> pb.StartTrainingResponse:  # noqa: N802
        return pb.StartTrainingResponse(training=self.states.pop(0))

    def GetTraining(self, request: pb.GetTrainingRequest) -> pb.GetTrainingResponse:  # noqa: N802
        return pb.GetTrainingResponse(training=self.states.pop(0))


def state(number: int, message: str = "", version: int = 0) -> pb.Training:
    result = pb.TrainingResult(version=version) if version else None
    return pb.Training(name=NAME, state=pb.Training.State.ValueType(number), message=message, result=result)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainings, "_LOOK_SECONDS", 0.0)


def test_it_trains_on_what_was_revised() -> None:
    """Each volume once; those whose labels were accepted as they are not."""
    decisions = {"b": sched.Review.DECISION_REVISED, "a": sched.Review.DECISION_REVISED}
    reviews = [sched.Review(volume=f"volumes/{volume}", decision=how) for volume, how in decisions.items()]
    reviews += [sched.Review(volume="volumes/c", decision=sched.Review.DECISION_ACCEPTED), reviews[0]]
    scheduler: Any = Scheduler(reviews=tuple(reviews))
    assert trainings.revised_volumes(scheduler, "campaigns/spring") == ["volumes/a", "volumes/b"]
    nothing: Any = Scheduler(reviews=(reviews[2],))
    with pytest.raises(AtlasError, match="No organ has been revised") as refused:
        trainings.revised_volumes(nothing, "campaigns/spring")
    assert refused.value.reason == Reason.TRAINING_DATA


def test_a_training_is_followed_to_its_end() -> None:
    """What it says is told once."""
    done = state(pb.Training.STATE_DONE, version=2)
    running = state(pb.Training.STATE_RUNNING, "epoch 1")
    scheduler: Any = Scheduler(state(pb.Training.STATE_WAITING), running, running, done)
    said: list[str] = []
    assert trainings.followed(scheduler, "models/unet", PLAN, said.append).result.version == 2
    assert said == ["epoch 1"]


def test_a_failure_is_told_with_its_last_words() -> None:
    failed = state(pb.Training.STATE_FAILED, "TRAINING_FAILED: The loss is nan.")
    scheduler: Any = Scheduler(state(pb.Training.STATE_RUNNING), failed)
    with pytest.raises(AtlasError, match="The loss is nan") as raised:
        trainings.followed(scheduler, "models/unet", PLAN, lambda line: None)
    assert raised.value.reason == Reason.TRAINING_FAILED


def test_a_refusal_of_the_plan_names_the_flag() -> None:
    """The scheduler knows fields; other fields stay as they are."""
    for field, flag in (("plan.held_out", "--held-out"), ("plan.organs", "--organ"), ("model", "model")):
        with pytest.raises(AtlasError) as raised, naming_flags():
            raise AtlasError(Reason.FIELD_INVALID, "From 0 to 0.9, not 2.", field=field)
        assert raised.value.field == flag


CAMPAIGN = sched.Campaign(
    name="campaigns/spring", state=sched.Campaign.STATE_ROUND_DONE, models=["models/unet", "models/unetr"]
)


def command(monkeypatch: pytest.MonkeyPatch, scheduler: Any, campaign: sched.Campaign, *words: str) -> Any:
    """What `atlas campaign` came to, with this scheduler."""
    scheduler.GetCampaign = lambda request: sched.GetCampaignResponse(campaign=campaign)
    monkeypatch.setattr(Connection, "to", lambda state: SimpleNamespace(scheduler=scheduler))
    app = typer.Typer()
    campaigns.register(app)
    tuning.register(app)
    return CliRunner().invoke(app, ["campaign", *words])


@pytest.mark.parametrize("words", [("tune", "spring"), ("next-round", "spring", "--tune")])
def test_a_refused_plan_names_its_flag_at_once(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    """By the scheduler's own bounds, and once, not for every model."""
    scheduler: Any = Scheduler(reviews=(sched.Review(volume="volumes/a", decision=sched.Review.DECISION_REVISED),))
    asked = []

    def start(request: pb.StartTrainingRequest) -> None:
        asked.append(request.model)
        training_calls.arguments(request, "models")

    scheduler.StartTraining = start
    result = command(monkeypatch, scheduler, CAMPAIGN, *words, "--epochs", "100001")
    assert isinstance(result.exception, AtlasError)
    assert (result.exception.reason, result.exception.field) == (Reason.FIELD_INVALID, "--epochs")
    assert asked == ["models/unet"]


def test_both_commands_ask_for_the_same_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the next round would train what was tuned before it."""
    scheduler: Any = Scheduler(reviews=(sched.Review(volume="volumes/a", decision=sched.Review.DECISION_REVISED),))
    asked = []

    def start(request: pb.StartTrainingRequest) -> pb.StartTrainingResponse:
        asked.append(request.plan.SerializeToString(deterministic=True))
        failed = pb.Training(name=NAME, state=pb.Training.STATE_FAILED, message="It stops here.")
        return pb.StartTrainingResponse(training=failed)

    scheduler.StartTraining = start
    campaign = sched.Campaign(name=CAMPAIGN.name, state=CAMPAIGN.state, models=CAMPAIGN.models[:1])
    for words in (("tune", "spring"), ("next-round", "spring", "--tune")):
        command(monkeypatch, scheduler, campaign, *words)
    assert len(asked) == 2
    assert len(set(asked)) == 1


@pytest.mark.parametrize(
    ("flag", "value"), [("--minutes", "25"), ("--epochs", "3"), ("--margin", "0.1"), ("--held-out", "0.3")]
)
def test_how_to_tune_is_refused_where_nothing_is_tuned(monkeypatch: pytest.MonkeyPatch, flag: str, value: str) -> None:
    result = command(monkeypatch, Scheduler(), CAMPAIGN, "next-round", "spring", "--newest", flag, value)
    assert isinstance(result.exception, AtlasError)
    assert (result.exception.reason, result.exception.field) == (Reason.FIELD_INVALID, flag)
    assert "Add --tune." in str(result.exception)


def test_the_next_round_is_not_tuned_for_while_reviews_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so before anything is trained."""
    campaign = sched.Campaign(name="campaigns/spring", state=sched.Campaign.STATE_IN_REVIEW)
    result = command(monkeypatch, Scheduler(), campaign, "next-round", "spring", "--tune")
    assert isinstance(result.exception, AtlasError)
    assert (result.exception.reason, result.exception.field) == (Reason.CAMPAIGN_STATE, "--tune")


class _Inference(InferenceServiceServicer):
    """Notes how long its caller waits for it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def PromoteModel(self, request: inf.PromoteModelRequest, context: Any) -> inf.PromoteModelResponse:  # noqa: N802
        self.seconds["promote"] = context.time_remaining()
        return inf.PromoteModelResponse(model=inf.Model(name=request.name))

    def RollbackModel(self, request: inf.RollbackModelRequest, context: Any) -> inf.RollbackModelResponse:  # noqa: N802
        self.seconds["rollback"] = context.time_remaining()
        return inf.RollbackModelResponse(model=inf.Model(name=request.name))


def test_going_back_may_take_as_long_as_going_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton loads the model for both, which takes minutes where it is large."""
    servicer = _Inference()  # type: ignore[abstract]  # others are not called
    server = grpc.server(ThreadPoolExecutor(2))
    add_InferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    stub = InferenceServiceStub(connect(f"127.0.0.1:{port}"))
    monkeypatch.setattr(Connection, "to", lambda state: SimpleNamespace(inference=stub))
    app = typer.Typer()
    zoo.register(app)
    campaigns.register(app)
    tuning.register(app)
    try:
        for words in (["promote", "unet", "2"], ["rollback", "unet"]):
            assert CliRunner().invoke(app, ["models", *words]).exit_code == 0
    finally:
        server.stop(None)
    assert servicer.seconds["rollback"] == pytest.approx(servicer.seconds["promote"], abs=5)

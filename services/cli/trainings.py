"""Trainings of models: started, followed to their end, and their versions promoted and taken back."""

import time
from collections.abc import Callable

from abdomenatlas.inference.v1 import inference_pb2 as inf
from abdomenatlas.inference.v1.inference_pb2_grpc import InferenceServiceStub
from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.scheduler.v1 import training_pb2 as pb
from abdomenatlas.scheduler.v1.scheduler_pb2_grpc import SchedulerServiceStub
from services.cli.paging import every
from services.core.errors import AtlasError, Reason

_LOOK_SECONDS = 2.0
_WAIT_SECONDS = 120.0
_LOAD_SECONDS = 660.0
"""Twice what Triton may take: a version is loaded by itself before it is served."""
_ENDED = (pb.Training.STATE_DONE, pb.Training.STATE_FAILED)


def revised_volumes(scheduler: SchedulerServiceStub, campaign: str) -> list[str]:
    """The volumes of which the campaign's reviewers revised an organ. Raises TRAINING_DATA if there is none."""
    reviews = every(scheduler.ListReviews, sched.ListReviewsRequest(parent=campaign), "reviews")
    volumes = {review.volume for review in reviews if review.decision == sched.Review.DECISION_REVISED}
    if not volumes:
        raise AtlasError(
            Reason.TRAINING_DATA,
            "No organ has been revised in it, so there is nothing to tune on.",
            field=campaign,
            remedy="Review some volumes first: `atlas review list`.",
        )
    return sorted(volumes)


def followed(
    scheduler: SchedulerServiceStub, model: str, plan: pb.TrainingPlan, tell: Callable[[str], None]
) -> pb.Training:
    """Train a model by `plan` to the end; one that runs already is followed.

    Raises TRAINING_FAILED with its last words.
    """
    request = pb.StartTrainingRequest(model=model, plan=plan)
    training = scheduler.StartTraining(request).training
    said = ""
    while training.state not in _ENDED:
        time.sleep(_LOOK_SECONDS)
        try:
            training = scheduler.GetTraining(pb.GetTrainingRequest(name=training.name)).training
        except AtlasError as error:
            if not error.is_passing:
                raise
        if training.message != said and training.state not in _ENDED:
            said = training.message
            tell(said)
    if training.state == pb.Training.STATE_FAILED:
        raise AtlasError(
            Reason.TRAINING_FAILED,
            training.message or "It failed without a word.",
            field=model,
            remedy="The same command goes on from the last checkpoint.",
        )
    return training


def promote(inference: InferenceServiceStub, model: str, version: int) -> inf.Model:
    """Have a version served; waits while Triton begins again.

    Raises MODEL_VERSION_REFUSED, MODEL_NOT_FOUND or MODEL_CARD_INVALID, and DEPENDENCY_UNAVAILABLE after two minutes.
    """
    request = inf.PromoteModelRequest(name=f"{model}/versions/{version}")
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            return inference.PromoteModel(request, timeout=_LOAD_SECONDS).model
        except AtlasError as error:
            if not error.is_passing or time.monotonic() > deadline:
                raise
        time.sleep(_LOOK_SECONDS)


def rollback(inference: InferenceServiceStub, name: str) -> inf.Model:
    """Have an earlier version served: that of `name`, or the one before the newest if it names none.

    Raises MODEL_VERSION_REFUSED, MODEL_NOT_FOUND, MODEL_CARD_INVALID or DEPENDENCY_UNAVAILABLE.
    """
    return inference.RollbackModel(inf.RollbackModelRequest(name=name), timeout=_LOAD_SECONDS).model

"""Trainings of networks: what is asked for, what is seen of them, and the port of whatever runs them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, Protocol


class State(IntEnum):
    """Values of `scheduler.v1.Training.State`; a test holds the two together."""

    WAITING = 1
    RUNNING = 2
    DONE = 3
    FAILED = 4


ENDED = (State.DONE, State.FAILED)
"""Nothing changes any more after these."""


@dataclass(frozen=True)
class Training:
    """One training and what is known of it."""

    id: str
    plan: Mapping[str, Any]
    """What it was started with: a `StartTrainingRequest` as JSON."""
    actor: str
    state: State
    message: str
    """What it waits for, why it failed (the last time), or the last lines that it printed."""
    create_time: datetime
    end_time: datetime | None


class TrainingRunner(Protocol):
    """Runs `python -m services.serving.training` somewhere. Errors are `AtlasError`."""

    repository: str
    """Folder of the models, where it runs."""

    def start(self, plan: Mapping[str, Any], arguments: list[str], actor: str) -> Training:
        """Start a training with these arguments, or find the one that waits or runs; one that has ended goes on.

        Of one that is done, nothing is trained again unless its data changed."""

    def get(self, training_id: str) -> Training:
        """A training. Raises RESOURCE_NOT_FOUND."""

    def all(self) -> list[Training]:
        """All trainings that are remembered, newest first."""

    def cancel(self, training_id: str) -> None:
        """End a training, or forget one that has ended. Raises RESOURCE_NOT_FOUND."""

    def wait(self, training_id: str, seconds: int) -> None:
        """Return when something may have changed, or after `seconds`."""

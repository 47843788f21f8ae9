"""Where the services are, and the clients that talk to them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from abdomenatlas.inference.v1.inference_pb2_grpc import InferenceServiceStub
from abdomenatlas.scheduler.v1.scheduler_pb2_grpc import SchedulerServiceStub
from services.cli.stack.state import StateFolder
from services.core.errors import AtlasError, Reason
from services.core.rpc.client import connect
from services.core.storage import Storage

DEFAULT_STATE = Path(".atlas")


@dataclass(frozen=True)
class Connection:
    """Clients of the services, connected when they are first used."""

    state: Path
    environment: Mapping[str, str]

    @classmethod
    def to(cls, state: Path) -> "Connection":
        """The stack of a state folder; ATLAS_STORAGE and ATLAS_SCHEDULER ("host:port") go before it."""
        return cls(state, os.environ)

    def address(self, service: str) -> str:
        """Address of a service. Raises DEPENDENCY_UNAVAILABLE if no stack runs and the environment names none."""
        if given := self.environment.get(f"ATLAS_{service.upper()}"):
            return given
        endpoints = StateFolder(self.state).read()
        if endpoints is None or not endpoints.is_running:
            died = "The stack's supervisor died." if endpoints else "No stack runs here."
            raise AtlasError(
                Reason.DEPENDENCY_UNAVAILABLE,
                died,
                field=str(self.state),
                remedy="Start it with `atlas up`, name its folder with --state, "
                f"or set ATLAS_{service.upper()}=host:port.",
            )
        return next(e.address for e in endpoints.endpoints if e.name == service)

    @cached_property
    def storage(self) -> Storage:
        """Storage: catalog and bytes."""
        return Storage(self.address("storage"))

    @cached_property
    def scheduler(self) -> SchedulerServiceStub:
        """Scheduler: campaigns and reviews."""
        return SchedulerServiceStub(connect(self.address("scheduler")))

    @cached_property
    def inference(self) -> InferenceServiceStub:
        """Inference: models and predictions."""
        return InferenceServiceStub(connect(self.address("inference")))

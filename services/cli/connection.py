"""Where the services are, and the clients that talk to them."""

import os
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import grpc

from abdomenatlas.audit.v1.audit_pb2_grpc import AuditServiceStub
from abdomenatlas.inference.v1.inference_pb2_grpc import InferenceServiceStub
from abdomenatlas.merging.v1.merging_pb2_grpc import MergingServiceStub
from abdomenatlas.scheduler.v1.scheduler_pb2_grpc import SchedulerServiceStub
from abdomenatlas.uncertainty.v1.uncertainty_pb2_grpc import UncertaintyServiceStub
from services.cli.stack.state import StateFolder
from services.core.errors import AtlasError, Reason
from services.core.rpc.client import connect
from services.core.rpc.credentials import Credentials
from services.core.storage import Storage

DEFAULT_STATE = Path(".atlas")
SERVICES = ("storage", "scheduler")
"""Services that the command talks to, and that keep audit logs."""
_shown: ContextVar[Credentials | None] = ContextVar("credentials", default=None)


def show(credentials: Credentials) -> None:
    """From now on, show `credentials` to services whose addresses the environment gives."""
    _shown.set(credentials)


@dataclass(frozen=True)
class Connection:
    """Clients of the services, connected when they are first used."""

    state: Path
    environment: Mapping[str, str]

    @classmethod
    def to(cls, state: Path) -> "Connection":
        """The stack of a state folder; ATLAS_STORAGE and ATLAS_SCHEDULER ("host:port") go before it."""
        return cls(state, os.environ)

    def given(self, service: str) -> str:
        """Address of a service in the environment, "" if there is none."""
        return self.environment.get(f"ATLAS_{service.upper()}", "")

    def address(self, service: str) -> str:
        """Address of a service. Raises DEPENDENCY_UNAVAILABLE if no stack runs and the environment names none."""
        if given := self.given(service):
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

    def channel(self, service: str) -> grpc.Channel:
        """A channel to a service. The stack of this machine asks for no credentials and is shown none."""
        credentials = _shown.get() if self.given(service) else None
        return connect(self.address(service), credentials, service, proxied=True)

    @cached_property
    def storage(self) -> Storage:
        """Storage: catalog and bytes."""
        return Storage(self.channel("storage"))

    def audit(self, service: str) -> AuditServiceStub:
        """The audit log of storage or the scheduler."""
        return AuditServiceStub(self.channel(service))

    @cached_property
    def scheduler(self) -> SchedulerServiceStub:
        """Scheduler: campaigns and reviews."""
        return SchedulerServiceStub(self.channel("scheduler"))

    @cached_property
    def inference(self) -> InferenceServiceStub:
        """Inference: models and predictions."""
        return InferenceServiceStub(self.channel("inference"))

    @cached_property
    def uncertainty(self) -> UncertaintyServiceStub:
        """Uncertainty: attention and checks."""
        return UncertaintyServiceStub(self.channel("uncertainty"))

    @cached_property
    def merging(self) -> MergingServiceStub:
        """Merging: merged labels and comparisons."""
        return MergingServiceStub(self.channel("merging"))

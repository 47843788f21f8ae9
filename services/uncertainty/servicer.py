"""The RPCs of the uncertainty service."""

from collections.abc import AsyncIterator
from typing import Any

from abdomenatlas.uncertainty.v1 import uncertainty_pb2 as pb
from abdomenatlas.uncertainty.v1.uncertainty_pb2_grpc import UncertaintyServiceServicer
from services.core.memory import MemoryGate
from services.core.rpc import progress
from services.core.storage import Storage
from services.core.turns import Turns
from services.uncertainty.checking import check_labels, rule_messages
from services.uncertainty.profiles import PROFILES
from services.uncertainty.scoring import score


class UncertaintyServicer(UncertaintyServiceServicer):
    """Convert, call, convert."""

    def __init__(self, storage: Storage, gate: MemoryGate) -> None:
        self._storage = storage
        self._gate = gate
        self._turns = Turns()

    async def ListProfiles(self, request: pb.ListProfilesRequest, context: Any) -> pb.ListProfilesResponse:
        """List the profiles by name."""
        return pb.ListProfilesResponse(
            profiles=[pb.Profile(name=name, description=p.description) for name, p in sorted(PROFILES.items())]
        )

    async def Score(self, request: pb.ScoreRequest, context: Any) -> AsyncIterator[pb.ScoreResponse]:
        """Score one volume."""
        async for message in progress.stream(
            lambda report: score(self._storage, self._gate, self._turns, request, report),
            wrap_progress=lambda update: pb.ScoreResponse(progress=update),
            wrap_result=lambda result: pb.ScoreResponse(attention_map=result),
        ):
            yield message

    async def ListRules(self, request: pb.ListRulesRequest, context: Any) -> pb.ListRulesResponse:
        """List the anatomical rules."""
        return pb.ListRulesResponse(rules=rule_messages())

    async def CheckLabels(self, request: pb.CheckLabelsRequest, context: Any) -> AsyncIterator[pb.CheckLabelsResponse]:
        """Check one label version."""
        async for message in progress.stream(
            lambda report: check_labels(self._storage, self._gate, request, report),
            wrap_progress=lambda update: pb.CheckLabelsResponse(progress=update),
            wrap_result=lambda result: pb.CheckLabelsResponse(check=result),
        ):
            yield message

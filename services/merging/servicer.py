"""The RPCs of the merging service."""

from collections.abc import AsyncIterator
from typing import Any

from abdomenatlas.merging.v1 import merging_pb2 as pb
from abdomenatlas.merging.v1.merging_pb2_grpc import MergingServiceServicer
from services.core.memory import MemoryGate
from services.core.rpc import progress
from services.core.storage import Storage
from services.core.turns import Turns
from services.merging.comparing import compare
from services.merging.merge import merge


class MergingServicer(MergingServiceServicer):
    """Convert, call, convert."""

    def __init__(self, storage: Storage, gate: MemoryGate) -> None:
        self._storage = storage
        self._gate = gate
        self._turns = Turns()

    async def Merge(self, request: pb.MergeRequest, context: Any) -> AsyncIterator[pb.MergeResponse]:
        """Merge one volume."""
        async for message in progress.stream(
            lambda report: merge(self._storage, self._gate, self._turns, request, report),
            wrap_progress=lambda update: pb.MergeResponse(progress=update),
            wrap_result=lambda result: pb.MergeResponse(label_version=result),
        ):
            yield message

    async def Compare(self, request: pb.CompareRequest, context: Any) -> AsyncIterator[pb.CompareResponse]:
        """Compare two label versions."""
        async for message in progress.stream(
            lambda report: compare(self._storage, self._gate, request, report),
            wrap_progress=lambda update: pb.CompareResponse(progress=update),
            wrap_result=lambda result: pb.CompareResponse(comparison=result),
        ):
            yield message

"""Calls of a plain gRPC client, and what it is told when it is refused."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.storage.v1.storage_pb2_grpc import StorageServiceStub


def refusal(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str, str]:
    """Status, reason and message that a call of the plain client fails with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    info = ErrorInfo()
    trailing = {item.key: item.value for item in error.trailing_metadata() or ()}
    for detail in Status.FromString(trailing.get("grpc-status-details-bin", b"")).details:
        detail.Unpack(info)
    return error.code(), info.reason, error.details()


def list_volumes(channel: grpc.Channel, **options: Any) -> pb.ListVolumesResponse:
    """A call that every person and every worker may make."""
    return StorageServiceStub(channel).ListVolumes(pb.ListVolumesRequest(), timeout=10, **options)

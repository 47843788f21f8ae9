"""A caller who has nothing but an address, as with grpcurl: names, types and calls all come from server reflection."""

from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.contract.service_process import ServiceProcess

# A method of each service, a request, and how it ends with nothing stored and nobody behind the service.
CALLS: dict[str, tuple[str, dict[str, Any], str]] = {
    "storage": ("ListVolumes", {"page_size": 5}, "OK"),
    "inference": ("Predict", {}, "FIELD_REQUIRED"),
    "uncertainty": ("ListProfiles", {}, "OK"),
    "merging": ("Merge", {}, "FIELD_REQUIRED"),
    "scheduler": ("ListCampaigns", {"page_size": 5}, "OK"),
}


KEEP_AUDIT_LOGS = ("storage", "scheduler")


def call(channel: grpc.Channel, service: str, method: str, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Call a method that no code here knows, and return its answers as JSON values."""
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    described = pool.FindServiceByName(service).FindMethodByName(method)
    path, answer = f"/{service}/{method}", GetMessageClass(described.output_type)
    message = ParseDict(request, GetMessageClass(described.input_type)())
    if described.server_streaming:
        stream = channel.unary_stream(path, type(message).SerializeToString, answer.FromString)
        return [MessageToDict(item) for item in stream(message, timeout=20)]
    unary = channel.unary_unary(path, type(message).SerializeToString, answer.FromString)
    return [MessageToDict(unary(message, timeout=20))]


def reason(error: grpc.RpcError) -> str:
    """The machine-readable reason that the details of a failed call carry."""
    trailing = {item.key: item.value for item in error.trailing_metadata()}
    info = ErrorInfo()
    for detail in Status.FromString(trailing["grpc-status-details-bin"]).details:
        if detail.Unpack(info):
            return str(info.reason)
    raise AssertionError("the details hold no google.rpc.ErrorInfo")


def test_reflection_names_the_service_health_and_itself(service: ServiceProcess) -> None:
    with grpc.insecure_channel(service.address) as channel:
        names = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    audit = {"abdomenatlas.audit.v1.AuditService"} if service.name in KEEP_AUDIT_LOGS else set[str]()
    assert names == {service.full_name, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} | audit


def test_a_call_is_made_of_what_reflection_says(service: ServiceProcess) -> None:
    method, request, outcome = CALLS[service.name]
    with grpc.insecure_channel(service.address) as channel:
        if outcome == "OK":
            assert len(call(channel, service.full_name, method, request)) == 1
            return
        with pytest.raises(grpc.RpcError) as refused:
            call(channel, service.full_name, method, request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason(refused.value) == outcome


def test_health_answers_through_reflection(service: ServiceProcess) -> None:
    with grpc.insecure_channel(service.address) as channel:
        for name in ("", service.full_name):
            assert call(channel, "grpc.health.v1.Health", "Check", {"service": name}) == [{"status": "SERVING"}]


def test_metrics_have_a_port_of_their_own(service: ServiceProcess) -> None:
    assert "atlas_rpc_calls" in service.metrics()

"""`AtlasError` to gRPC status and back: the one place where reasons meet status codes."""

from typing import cast

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from services.core.errors import AtlasError, Reason

DOMAIN = "abdomenatlas"
_Code = grpc.StatusCode
_STATUS = {
    Reason.RESOURCE_NOT_FOUND: _Code.NOT_FOUND,
    Reason.MODEL_NOT_FOUND: _Code.NOT_FOUND,
    Reason.RESOURCE_CONFLICT: _Code.ALREADY_EXISTS,
    Reason.REQUEST_ID_REUSED: _Code.ALREADY_EXISTS,
    Reason.ETAG_MISMATCH: _Code.ABORTED,
    Reason.GEOMETRY_MISMATCH: _Code.FAILED_PRECONDITION,
    Reason.GRID_MISMATCH: _Code.FAILED_PRECONDITION,
    Reason.CLASS_MAP_MISMATCH: _Code.FAILED_PRECONDITION,
    Reason.MODEL_CARD_INVALID: _Code.FAILED_PRECONDITION,
    Reason.MODEL_VERSION_REFUSED: _Code.FAILED_PRECONDITION,
    Reason.TRAINING_DATA: _Code.FAILED_PRECONDITION,
    Reason.TRAINING_FAILED: _Code.ABORTED,
    Reason.DISK_FULL: _Code.RESOURCE_EXHAUSTED,
    Reason.UPLOAD_EXPIRED: _Code.FAILED_PRECONDITION,
    Reason.LEASE_HELD: _Code.FAILED_PRECONDITION,
    Reason.LEASE_LOST: _Code.FAILED_PRECONDITION,
    Reason.REVIEW_STATE: _Code.FAILED_PRECONDITION,
    Reason.CAMPAIGN_STATE: _Code.FAILED_PRECONDITION,
    Reason.UPLOAD_OFFSET_MISMATCH: _Code.OUT_OF_RANGE,
    Reason.VOLUME_TOO_LARGE: _Code.RESOURCE_EXHAUSTED,
    Reason.TOO_MANY_UPLOADS: _Code.RESOURCE_EXHAUSTED,
    Reason.DIGEST_MISMATCH: _Code.DATA_LOSS,
    Reason.ARRAY_FILE_CORRUPT: _Code.DATA_LOSS,
    Reason.MODEL_ANSWER_INVALID: _Code.INTERNAL,
    Reason.INTERNAL: _Code.INTERNAL,
    Reason.MODEL_NOT_READY: _Code.UNAVAILABLE,
    Reason.DEPENDENCY_UNAVAILABLE: _Code.UNAVAILABLE,
    Reason.SHUTTING_DOWN: _Code.UNAVAILABLE,
    Reason.DEADLINE_EXCEEDED: _Code.DEADLINE_EXCEEDED,
    Reason.UNAUTHENTICATED: _Code.UNAUTHENTICATED,
    Reason.PERMISSION_DENIED: _Code.PERMISSION_DENIED,
}

# What gRPC's message says when the two sides do not agree on TLS; nothing else tells them from a service that is down.
_TLS_TROUBLE = {
    "CERTIFICATE_VERIFY_FAILED": (
        ": its certificate expired or comes from no authority that is trusted here",
        "Name its authorities (TLS_CA of a service, --ca of the command).",
    ),
    "Hostname Verification": (
        ": its certificate is for another name",
        "Call it by a name that its certificate carries, or give that name with --server-name.",
    ),
    "WRONG_VERSION_NUMBER": (": it speaks no TLS", "Is this the right port?"),
    "Socket closed": (
        ": it closed the connection",
        "Does it want TLS (TLS_CA, --ca), or a client certificate of its authorities?",
    ),
}


def status_code(reason: Reason) -> grpc.StatusCode:
    """The gRPC status of a reason; what is not listed is the caller's INVALID_ARGUMENT."""
    return _STATUS.get(reason, _Code.INVALID_ARGUMENT)


def to_status(error: AtlasError) -> grpc.Status:
    """gRPC status with a google.rpc.ErrorInfo detail."""
    detail = Any()
    detail.Pack(
        ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata={"field": error.field, "remedy": error.remedy})
    )
    code = status_code(error.reason).value[0]
    return rpc_status.to_status(Status(code=code, message=error.message, details=[detail]))


def from_rpc_error(error: grpc.RpcError, service: str) -> AtlasError:
    """The error that a call to `service` failed with; one that carries no ErrorInfo is judged by its status."""
    call = cast(grpc.Call, error)
    status = rpc_status.from_call(call)
    info = ErrorInfo()
    for detail in status.details if status else ():
        if detail.Unpack(info) and info.domain == DOMAIN:
            reason = Reason(info.reason) if info.reason in Reason.__members__ else Reason.INTERNAL
            return AtlasError(reason, status.message, field=info.metadata["field"], remedy=info.metadata["remedy"])
    code, text = call.code(), call.details() or ""
    if code in (_Code.UNAVAILABLE, _Code.CANCELLED):
        # A connection that closes later has other reasons.
        trouble = _TLS_TROUBLE.items() if "; last error: " in text else ()
        why, remedy = next((told for mark, told in trouble if mark in text), ("", "Is it running?"))
        return AtlasError(
            Reason.DEPENDENCY_UNAVAILABLE, f"{service} does not answer{why}.", field=service, remedy=remedy
        )
    if code == _Code.DEADLINE_EXCEEDED:
        return AtlasError(
            Reason.DEADLINE_EXCEEDED,
            f"{service} did not answer in time.",
            field=service,
            remedy="Try again; its log tells what it was doing.",
        )
    if code in (_Code.UNAUTHENTICATED, _Code.PERMISSION_DENIED):
        return AtlasError(
            Reason[code.name],
            f"{service} refused the call: {text[:300]}",
            field="authorization",
            remedy="Show it a token or certificate that it takes.",
        )
    if code in (_Code.UNIMPLEMENTED, _Code.INTERNAL, _Code.UNKNOWN):
        return AtlasError(
            Reason.INTERNAL,
            f"{service} failed with {code.name}: {text[:300]}",
            field=service,
            remedy="Its log says more, under the same request id.",
        )
    return AtlasError(Reason.FIELD_INVALID, f"{service} refused the call with {code.name}: {text[:300]}")

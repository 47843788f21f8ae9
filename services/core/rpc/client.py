"""Synchronous channels to the product's services: calls carry the request id and fail with `AtlasError`."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import grpc

from services.core.access import identity
from services.core.access.guard import BEHALF_KEY
from services.core.errors import AtlasError, Reason
from services.core.rpc import request_id
from services.core.rpc.credentials import Credentials, RenewedChannel
from services.core.rpc.errors import from_rpc_error
from services.core.rpc.security_settings import is_loopback

DEFAULT_DEADLINE_SECONDS = 60.0
SERVICE_KEY = "x-atlas-service"
"""Metadata that names the service a call is for. Two services keep an audit log, and all have reflection: by the method
alone a gateway with one address for all could not tell whose is meant."""
MAX_MESSAGE_BYTES = 64 * 2**20

PAUSES_SECONDS = (0.1, 0.3, 0.9)
"""How long a request waits before it is sent again to a service that did not answer. Only methods whose repetition is
harmless may be repeated blindly; in this product that is every one with one request and one response."""

_OPTIONS = [
    # No retry policy of gRPC's: a stream under one is now and then lost with a connection that breaks, for ever and
    # with its deadline (1.85; once in one to two hundred killed servers, never in 3000 without).
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 60_000),
    # Less than the pauses in all, so that a call outlives the moment in which a service begins again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]


DIRECT = ("grpc.enable_http_proxy", 0)
"""Option of a channel that looks at no `http_proxy`, `https_proxy` or `grpc_proxy`. gRPC goes through those by itself,
even to 127.0.0.1, and a proxy stands between an organisation and others, never between this product's processes."""


def connect(
    address: str, credentials: Credentials | None = None, service: str = "", *, proxied: bool = False
) -> grpc.Channel:
    """A channel to `address` ("host:port", or "dns:///host:port" with many hosts behind the name, called in turn).

    `service` ("storage") goes with every call, for gateways, and into the name that the credentials expect. `proxied`
    lets calls to another machine go through the proxy that the environment names, for people who call from elsewhere.

    It connects when it is first used. A unary call without a timeout gets one of 60 s, and is sent again while nobody
    answers (PAUSES_SECONDS); streams go on for as long as the caller listens. Every failure is raised as an
    `AtlasError`, by the call itself or, for streams, by the iteration.
    Raises FIELD_INVALID if a file of the credentials cannot be used, or if a token would go to another machine without
    TLS.
    """
    credentials = credentials or Credentials()
    is_local = is_loopback(address.removeprefix("dns:///").rsplit(":", 1)[0])
    options = [*_OPTIONS] if proxied and not is_local else [*_OPTIONS, DIRECT]
    channel: grpc.Channel
    if credentials.ca:
        channel = RenewedChannel(address, credentials, [*options, *credentials.options(service)])
    elif credentials.token_file and not is_local:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"The token is not sent to {address} without TLS.",
            field=str(credentials.token_file),
            remedy="Name the authorities of the server's certificate, such as with --ca.",
        )
    else:
        channel = grpc.insecure_channel(address, options=options)
    return grpc.intercept_channel(channel, _Calls(credentials, service))


class _Calls(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds deadline, service, request id and token, and turns what comes back into a result or an `AtlasError`."""

    def __init__(self, credentials: Credentials, service: str) -> None:
        self._credentials, self._service = credentials, service

    def _prepare(self, given: Any, timeout: float | None = None) -> "_CallDetails":
        added: list[tuple[str, str | bytes]] = [*self._credentials.metadata()]
        if self._service:
            added.append((SERVICE_KEY, self._service))
        if current := request_id.current():
            added.append((request_id.METADATA_KEY, current))
        # For whom a service calls; only a service's certificate makes the callee believe it.
        if person := identity.actor():
            added.append((BEHALF_KEY, person.encode()))
        return _CallDetails(given, given.timeout if timeout is None else timeout, added)

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """One request, one response."""
        given = client_call_details.timeout
        end = time.monotonic() + (DEFAULT_DEADLINE_SECONDS if given is None else given)

        def send() -> Any:
            return continuation(self._prepare(client_call_details, end - time.monotonic()), request)

        return _Repeated(send, client_call_details, end)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Many requests, one response."""
        return _Single(continuation(self._prepare(client_call_details), request_iterator), client_call_details)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """One request, many responses."""
        return _Stream(continuation(self._prepare(client_call_details), request), client_call_details)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Many requests, many responses."""
        return _Stream(continuation(self._prepare(client_call_details), request_iterator), client_call_details)


class _CallDetails(grpc.ClientCallDetails):
    def __init__(self, given: Any, timeout: float | None, added: Sequence[tuple[str, str | bytes]]) -> None:
        self.method = given.method
        self.timeout = timeout
        self.metadata = (*(given.metadata or ()), *added)
        self.credentials = given.credentials
        self.wait_for_ready = given.wait_for_ready
        self.compression = given.compression


def _service(details: Any) -> str:
    """ "storage" of "/abdomenatlas.storage.v1.StorageService/GetVolume"."""
    parts = str(details.method).strip("/").split(".")
    return parts[1] if len(parts) > 2 else parts[0]


class _Single:
    """A finished or running call with one response; gRPC asks it for `result`."""

    def __init__(self, call: Any, details: Any) -> None:
        self._call, self._details = call, details

    def result(self, timeout: float | None = None) -> Any:
        return _raising(lambda: self._call.result(timeout), self._details)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


class _Repeated(_Single):
    """One that is sent again while nobody answers and `end`, of the monotonic clock, is far enough."""

    def __init__(self, send: Callable[[], Any], details: Any, end: float) -> None:
        super().__init__(send(), details)
        self._send, self._end = send, end

    def result(self, timeout: float | None = None) -> Any:
        for pause in PAUSES_SECONDS:
            try:
                return self._call.result(timeout)
            except grpc.RpcError as error:
                is_lost = cast(grpc.Call, error).code() == grpc.StatusCode.UNAVAILABLE
                if not is_lost or time.monotonic() + pause >= self._end:
                    break
            time.sleep(pause)
            self._call = self._send()
        return super().result(timeout)


class _Stream:
    """A call with many responses."""

    def __init__(self, call: Any, details: Any) -> None:
        self._call, self._details = call, details

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return _raising(lambda: next(self._call), self._details)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


def _raising(action: Callable[[], Any], details: Any) -> Any:
    try:
        return action()
    except grpc.RpcError as error:
        raise from_rpc_error(error, _service(details)) from error

"""The chart's ways in as gateways read them, and a gateway that passes calls on by them."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from tests.charts.rendering import Manifest

Backend = Callable[[str], grpc.Channel]
"""A channel to the Service of a name."""


def by_gateway(route: Manifest, method: str, headers: Mapping[str, str]) -> str:
    """The Service to which a GRPCRoute sends a call of "/package.Service/Method"; "" if to none.

    As the Gateway API has it: a match with more headers goes before one with fewer, and the first of equals counts.
    """
    service = method.split("/")[1]
    found = [
        (len(match.get("headers", [])), rule["backendRefs"][0]["name"])
        for rule in route["spec"]["rules"]
        for match in rule["matches"]
        if match["method"] == {"type": "Exact", "service": service}
        and all(header["type"] == "Exact" and headers.get(header["name"]) == header["value"]
                for header in match.get("headers", []))
    ]  # fmt: skip
    return max(found, key=lambda match: match[0])[1] if found else ""


def by_ingress(ingress: Manifest, method: str) -> str:
    """The Service to which an Ingress sends a call; "" if to none."""
    (rule,) = ingress["spec"]["rules"]
    found = [path for path in rule["http"]["paths"] if method.startswith(path["path"]) and path["pathType"] == "Prefix"]
    longest = max(found, key=lambda path: len(path["path"]), default=None)
    return str(longest["backend"]["service"]["name"]) if longest else ""


@contextlib.contextmanager
def gateway(route: Manifest, backend: Backend, credentials: grpc.ServerCredentials) -> Iterator[str]:
    """A gateway on loopback that speaks TLS and sends calls where `route` says; its address."""
    server = grpc.server(ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers([_PassOn(route, backend)])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait(10)


class _PassOn(grpc.GenericRpcHandler):
    """Passes bytes and metadata on and reads neither."""

    def __init__(self, route: Manifest, backend: Backend) -> None:
        self._route, self._backend = route, backend

    def service(self, handler_call_details: Any) -> Any:
        """Every call is a stream of bytes; None, which is UNIMPLEMENTED, for a call without a route."""
        method, metadata = handler_call_details.method, dict(handler_call_details.invocation_metadata)
        to = by_gateway(self._route, method, metadata)
        if not to:
            return None

        def forward(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
            kept = tuple((key, value) for key, value in metadata.items() if key != "user-agent")
            passed: Any = self._backend(to).stream_stream(method)
            call = passed(requests, metadata=kept, timeout=context.time_remaining())
            try:
                yield from call
            except grpc.RpcError as error:
                failed: Any = error
                context.set_trailing_metadata(failed.trailing_metadata() or ())
                context.abort(failed.code(), failed.details())

        return grpc.stream_stream_rpc_method_handler(forward)

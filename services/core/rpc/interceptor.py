"""The one server interceptor: request id, admission, log line, metrics and errors, for every method alike."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, cast

import grpc
import structlog
from prometheus_client import Counter, Gauge, Histogram

from services.core.errors import AtlasError, Reason
from services.core.rpc import admission, request_id
from services.core.rpc.errors import to_status

log = structlog.get_logger()

CALLS = Counter("atlas_rpc_calls", "Finished calls", ["method", "reason"])
SECONDS = Histogram(
    "atlas_rpc_seconds", "Duration of calls in seconds", ["method"], buckets=(0.01, 0.1, 1, 10, 60, 600)
)
IN_FLIGHT = Gauge("atlas_rpc_in_flight", "Calls in flight", ["method"])

OPEN = "/grpc.health.v1.Health/"
"""Methods that anybody may call, and that are not observed."""
REQUEST_SECONDS = 30
"""How long the request of a call may be on its way."""

Context = admission.Context
if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any] | None


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method but the health checks."""

    def __init__(self, door: admission.Admission) -> None:
        self._door = door

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler":
        """Replace the handler's function by one that is observed.

        It takes every call as a stream of requests, which it gets as soon as the call begins: one that never sends its
        only request would otherwise be nobody's, and keep its connection.
        """
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None:
            return handler
        if method.startswith(OPEN):
            return cast("Handler", _open(handler))
        name = method.rsplit(".", 1)[-1]
        metadata = dict(handler_call_details.invocation_metadata or ())
        given_id = str(metadata.get(request_id.METADATA_KEY, ""))
        inner = cast(Any, handler)
        wrapped: dict[str, Any]

        async def taken(requests: Any) -> Any:
            return requests if handler.request_streaming else await _only(requests)

        if handler.response_streaming:
            function = inner.stream_stream if handler.request_streaming else inner.unary_stream

            async def stream(requests: Any, context: Context) -> AsyncIterator[Any]:
                async with (
                    _Call(name, given_id, context),
                    self._door.admitted(method, lambda: taken(requests), context) as request,
                ):
                    async for response in function(request, context):
                        yield response

            wrapped = {"stream_stream": stream}
        else:
            function = inner.stream_unary if handler.request_streaming else inner.unary_unary

            async def single(requests: Any, context: Context) -> Any:
                async with (
                    _Call(name, given_id, context),
                    self._door.admitted(method, lambda: taken(requests), context) as request,
                ):
                    return await function(request, context)

            wrapped = {"stream_unary": single}
        return cast("Handler", inner._replace(request_streaming=True, **{**_NO_FUNCTIONS, **wrapped}))


def _open(handler: Any) -> Any:
    """The handler of a health check, which is answered or ended in time; one that streams refuses by itself."""
    if handler.response_streaming:
        return handler

    async def check(requests: Any, context: Context) -> Any:
        try:
            return await handler.unary_unary(await _only(requests), context)
        except AtlasError as error:
            await context.abort_with_status(to_status(error))

    return handler._replace(request_streaming=True, **{**_NO_FUNCTIONS, "stream_unary": check})


async def _only(requests: AsyncIterator[Any]) -> Any:
    """The only request of a call. Raises DEADLINE_EXCEEDED if it does not come, FIELD_REQUIRED if there is none."""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            async for request in requests:
                return request
    except TimeoutError:
        raise AtlasError(
            Reason.DEADLINE_EXCEEDED,
            f"The call began, and no request came for {REQUEST_SECONDS} s.",
            field="request",
            remedy="Send it with the call.",
        ) from None
    raise AtlasError(Reason.FIELD_REQUIRED, "The call has no request.", field="request", remedy="Send one.")


_NO_FUNCTIONS = dict.fromkeys(("unary_unary", "unary_stream", "stream_unary", "stream_stream"))


class _Call:
    """One call from its first to its last message."""

    def __init__(self, method: str, given_id: str, context: Context) -> None:
        self.method, self.given_id, self.context = method, given_id, context

    async def __aenter__(self) -> None:
        self.bound = request_id.bound(self.given_id)
        self.bound.__enter__()
        self.started = time.monotonic()
        IN_FLIGHT.labels(self.method).inc()

    async def __aexit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        seconds = time.monotonic() - self.started
        IN_FLIGHT.labels(self.method).dec()
        SECONDS.labels(self.method).observe(seconds)
        refusal = _refusal(error)
        reason = "CANCELLED" if isinstance(error, asyncio.CancelledError | GeneratorExit) else "OK"
        reason = refusal.reason.value if refusal else reason
        CALLS.labels(self.method, reason).inc()
        fields = {"method": self.method, "reason": reason, "seconds": round(seconds, 4)}
        try:
            if refusal is None:
                log.info("call", **fields)
                return
            if refusal.reason == Reason.INTERNAL:
                log.error("call", **fields, exc_info=error)
            else:
                log.info("call", **fields, message=refusal.message, field=refusal.field)
            await self._abort(refusal)
        finally:
            self.bound.__exit__(None, None, None)

    async def _abort(self, refusal: AtlasError) -> NoReturn:
        await self.context.abort_with_status(to_status(refusal))
        raise AssertionError("abort_with_status returned")


def _refusal(error: BaseException | None) -> AtlasError | None:
    """What to tell the caller. Anything unforeseen is hidden: its text may hold what a caller must not see."""
    if error is None or isinstance(error, asyncio.CancelledError | GeneratorExit | grpc.aio.AbortError):
        return None
    if isinstance(error, AtlasError):
        return error
    return AtlasError(
        Reason.INTERNAL,
        "The service failed.",
        remedy=f"Its log has the details under request id {request_id.current()}.",
    )

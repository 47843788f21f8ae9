"""One way to run a service: health, reflection, metrics, and a graceful end on SIGTERM."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from abdomenatlas.audit.v1.audit_pb2_grpc import add_AuditServiceServicer_to_server
from services.core.errors import AtlasError
from services.core.memory import MemoryGate
from services.core.rpc import audit_servicer, logs
from services.core.rpc.admission import Admission
from services.core.rpc.audit_servicer import AuditServicer
from services.core.rpc.interceptor import CallInterceptor
from services.core.rpc.ports import Ports, guard
from services.core.rpc.settings import ServiceSettings

WORKER_THREADS = 128
"""Threads for blocking work, made when they are needed; services bound what is heavy themselves."""
ENDING_SECONDS = 5.0
"""What a process may take to end after its last call has ended or was cut off."""

log = structlog.get_logger()
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def run(
    settings: ServiceSettings,
    service_name: str,
    add_to_server: Callable[[Any, grpc.aio.Server], None],
    servicer: object,
    *,
    audit: AuditServicer | None = None,
    gate: MemoryGate | None = None,
    startup: Callable[[], None] | None = None,
    shutdown: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then let calls in flight end within `settings.drain_seconds`.

    Calls that change something are recorded with `audit`, which is served too; a service without one changes nothing
    by itself. Certificates that cannot be used and ports that are taken end the process with a sentence.
    Calls that wait at the `gate` are refused at once then; work that outlasts the bound is cut off with the process.
    `startup` runs before the service reports itself healthy, `shutdown` after the last call; both may block.
    """
    logs.configure(settings.log_level, service_name.rsplit(".", 1)[-1])

    def add(server: grpc.aio.Server) -> tuple[str, ...]:
        add_to_server(servicer, server)
        if audit:
            add_AuditServiceServicer_to_server(audit, server)
        return (service_name, *((audit_servicer.FULL_NAME,) if audit else ()))

    try:
        door = Admission(guard(settings), audit.log.append if audit else None)
        asyncio.run(_serve(settings, Ports(settings), door, service_name, add, gate, startup, shutdown))
    except AtlasError as error:
        raise SystemExit(str(error)) from None


async def _serve(
    settings: ServiceSettings,
    ports: Ports,
    door: Admission,
    service_name: str,
    add_to_server: Callable[[grpc.aio.Server], tuple[str, ...]],
    gate: MemoryGate | None,
    startup: Callable[[], None] | None,
    shutdown: Callable[[], None] | None,
) -> None:
    server = grpc.aio.server(interceptors=[CallInterceptor(door)], options=ports.options)
    names = add_to_server(server)
    health = _Health()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection((*names, "grpc.health.v1.Health", reflection.SERVICE_NAME), server)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # The default of five threads or so would let a few long calls starve the short ones.
    loop.set_default_executor(ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="call"))
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)

    await _set_health(health, service_name, _NOT_SERVING)
    open_ports = ports.open(server)
    health_server = await ports.open_health(health)
    metrics = ports.open_metrics()
    await server.start()
    try:
        if startup:
            await asyncio.to_thread(startup)
        await _set_health(health, service_name, _SERVING)
        log.info("serving", host=settings.host, **open_ports, metrics_port=metrics.port, tls=settings.is_encrypted)
        await stop.wait()
        log.info("draining", seconds=settings.drain_seconds)
        _end_after(settings.drain_seconds + ENDING_SECONDS)
        if gate:
            gate.close()
        await _set_health(health, service_name, _NOT_SERVING)
    finally:
        await server.stop(settings.drain_seconds)
        if shutdown:
            await asyncio.to_thread(shutdown)
        if health_server:
            await health_server.stop(0)
        metrics.close()
        log.info("stopped")


def _end_after(seconds: float) -> None:
    """End the process then, whatever runs: Python would wait without end for the threads of calls that were cut off."""

    def end() -> None:
        log.warning("cut off", seconds=seconds)
        os._exit(0)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


class _Health(health_aio.HealthServicer):
    """Checks alone. Watching takes no token and never ends, so it would keep strangers connected."""

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 - the method's name in the contract
        """Refused."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Ask with Check.")


async def _set_health(health: health_aio.HealthServicer, service_name: str, status: Any) -> None:
    for name in ("", service_name):
        await health.set(name, status)

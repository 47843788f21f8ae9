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
from prometheus_client import start_http_server

from services.core.memory import MemoryGate
from services.core.rpc import logs
from services.core.rpc.interceptor import CallInterceptor
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
    gate: MemoryGate | None = None,
    startup: Callable[[], None] | None = None,
    shutdown: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then let calls in flight end within `settings.drain_seconds`.

    Calls that wait at the `gate` are refused at once then; work that outlasts the bound is cut off with the process.
    `startup` runs before the service reports itself healthy, `shutdown` after the last call; both may block.
    """
    logs.configure(settings.log_level, service_name.rsplit(".", 1)[-1])
    asyncio.run(_serve(settings, service_name, add_to_server, servicer, gate, startup, shutdown))


async def _serve(
    settings: ServiceSettings,
    service_name: str,
    add_to_server: Callable[[Any, grpc.aio.Server], None],
    servicer: object,
    gate: MemoryGate | None,
    startup: Callable[[], None] | None,
    shutdown: Callable[[], None] | None,
) -> None:
    server = grpc.aio.server(
        interceptors=[CallInterceptor()],
        options=[
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", settings.max_message_bytes),
            ("grpc.max_metadata_size", 16 * 1024),
            # Without SO_REUSEPORT a second process on the same port fails instead of stealing half of the calls.
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ],
    )
    add_to_server(servicer, server)
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection((service_name, "grpc.health.v1.Health", reflection.SERVICE_NAME), server)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # The default of five threads or so would let a few long calls starve the short ones.
    loop.set_default_executor(ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="call"))
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)

    await _set_health(health, service_name, _NOT_SERVING)
    port = server.add_insecure_port(f"{settings.host}:{settings.port}")
    metrics, _ = start_http_server(settings.metrics_port, addr=settings.host)
    await server.start()
    try:
        if startup:
            await asyncio.to_thread(startup)
        await _set_health(health, service_name, _SERVING)
        log.info("serving", host=settings.host, port=port, metrics_port=metrics.server_port)
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
        metrics.shutdown()
        log.info("stopped")


def _end_after(seconds: float) -> None:
    """End the process then, whatever runs: Python would wait without end for the threads of calls that were cut off."""

    def end() -> None:
        log.warning("cut off", seconds=seconds)
        os._exit(0)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


async def _set_health(health: health_aio.HealthServicer, service_name: str, status: Any) -> None:
    for name in ("", service_name):
        await health.set(name, status)

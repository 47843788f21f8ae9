"""A proxy in the environment stands between this machine and others, and in no call of the product to itself."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.cli.stack.child import is_serving
from services.core.errors import AtlasError
from services.core.rpc.client import connect

VARIABLES = ("http_proxy", "https_proxy", "grpc_proxy")
EXCEPTIONS = ("no_proxy", "no_grpc_proxy")
ELSEWHERE = "atlas.invalid:50055"


@pytest.fixture
def serving() -> Iterator[str]:
    """The address of a server that reports SERVING."""
    server = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A listening proxy, which the environment names."""
    for variable in EXCEPTIONS:
        monkeypatch.delenv(variable, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)
        for variable in VARIABLES:
            monkeypatch.setenv(variable, f"http://127.0.0.1:{listening.getsockname()[1]}")
        yield listening


def check(channel: grpc.Channel) -> Any:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return stub.Check(health_pb2.HealthCheckRequest(), timeout=3)


@pytest.mark.parametrize("variable", VARIABLES)
def test_this_machine_is_reached_past_a_proxy(serving: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if nothing listens where the variable points."""
    for no_proxy in EXCEPTIONS:
        monkeypatch.delenv(no_proxy, raising=False)
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert is_serving(serving, timeout_seconds=5)
    for proxied in (True, False):
        with connect(serving, proxied=proxied) as channel:
            assert check(channel).status == health_pb2.HealthCheckResponse.SERVING


def test_only_who_may_use_it_reaches_another_machine_through_it(proxy: socket.socket) -> None:
    with connect(ELSEWHERE) as channel, pytest.raises(AtlasError):
        check(channel)
    with connect(ELSEWHERE, proxied=True) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        call = stub.Check.future(health_pb2.HealthCheckRequest(), timeout=5)
        with proxy.accept()[0] as connection:
            assert connection.recv(1000).startswith(f"CONNECT {ELSEWHERE} ".encode())
        call.cancel()

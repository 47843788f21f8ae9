"""Thousands of connections that say nothing: the service keeps answering, and the connections are let go of."""

import resource
import selectors
import socket
from collections.abc import Callable, Iterator

import psutil
import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.storage.v1.storage_pb2_grpc import StorageServiceStub
from services.core.rpc.ports import HANDSHAKE_SECONDS
from tests.components.processes import wait_until
from tests.security.calls import list_volumes
from tests.security.conftest import Closed

IDLE, BOUND = 3000, 200


@pytest.fixture
def many_files() -> Iterator[None]:
    """Lets this process have the sockets open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < 2 * IDLE:
        pytest.skip(f"this system gives a process {before[1]} files, too few for {IDLE} connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * IDLE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def idle(address: str, count: int) -> list[socket.socket]:
    """Connections to `address` that never send a byte."""
    host, port = address.rsplit(":", 1)
    opened = []
    for _ in range(count):
        connection = socket.create_connection((host, int(port)), timeout=10)
        connection.setblocking(False)
        opened.append(connection)
    return opened


def closed_by_the_server(connections: list[socket.socket]) -> int:
    """How many of them the other side has ended."""
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        return sum(1 for key, _ in selector.select(0.1) if _ended(key.fileobj))


def _ended(connection: object) -> bool:
    assert isinstance(connection, socket.socket)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.usefixtures("many_files")
def test_idle_connections_are_bounded_and_let_go_of(closed_services: Callable[..., Closed]) -> None:
    """Who is connected is served on; the port for services is not touched; a newcomer gets in once handshakes end."""
    closed = closed_services("storage", max_connections=BOUND)
    token = closed.issuer.token("ann", "viewer")
    connected = closed.with_token(token)
    list_volumes(connected)
    process = psutil.Process(closed.service.process.pid)
    files = process.num_fds()
    sockets = idle(closed.service.address, IDLE)
    try:
        assert process.num_fds() < files + BOUND + 50
        list_volumes(connected)
        list_volumes(closed.as_service("merging"))
        wait_until(lambda: closed_by_the_server(sockets) == IDLE, "the end of every connection", HANDSHAKE_SECONDS + 10)
        newcomer = StorageServiceStub(closed.with_token(token))
        newcomer.ListVolumes(pb.ListVolumesRequest(), timeout=30, wait_for_ready=True)
        assert process.num_fds() < files + 50
    finally:
        for connection in sockets:
            connection.close()


def test_idle_readers_of_metrics_do_not_keep_others_away_for_long(storage: Closed) -> None:
    """They hold the threads of the page for some seconds; calls do not notice."""
    sockets = idle(f"127.0.0.1:{storage.service.metrics_port}", 40)
    try:
        list_volumes(storage.with_token(storage.issuer.token("ann", "viewer")))
        wait_until(lambda: closed_by_the_server(sockets) == len(sockets), "the end of every connection", 60)
    finally:
        for connection in sockets:
            connection.close()

"""Connections that say nothing, or never finish: the service keeps answering, and the connections are let go of."""

import resource
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.storage.v1.storage_pb2_grpc import StorageServiceStub
from services.core.rpc.interceptor import REQUEST_SECONDS
from services.core.rpc.ports import HANDSHAKE_SECONDS
from tests.components.processes import wait_until
from tests.security.calls import list_volumes, refusal
from tests.security.conftest import Closed

IDLE, BOUND = 3000, 200
SILENT, SILENT_SECONDS = 40, 5
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, HEADERS, PING = 4, 1, 6
END_HEADERS, ACK = 4, 1
"""Kinds and flags of HTTP/2's frames, RFC 9113."""


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


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _headers(path: str, *more: tuple[str, str]) -> bytes:
    """The header block of a call, each field written out (RFC 7541, 6.2.2)."""
    fields = (
        (":method", "POST"),
        (":scheme", "https"),
        (":path", path),
        (":authority", "storage"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *more,
    )
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)


def _text(text: str) -> bytes:
    assert len(text) < 127
    return bytes([len(text)]) + text.encode()


def speaking(closed: Closed, path: str = "") -> ssl.SSLSocket:
    """A connection that has finished TLS and HTTP/2's beginning, and a call that it began and never goes on with."""
    context = ssl.create_default_context(cafile=closed.authority.ca)
    context.set_alpn_protocols(["h2"])
    host, port = closed.service.address.rsplit(":", 1)
    connection = context.wrap_socket(socket.create_connection((host, int(port)), timeout=10), server_hostname=host)
    call = _frame(HEADERS, END_HEADERS, 1, _headers(path)) if path else b""
    connection.sendall(PREFACE + _frame(SETTINGS, 0, 0) + call)
    return connection


def wait_end(connection: socket.socket, seconds: float) -> float:
    """Answer pings until the other side ends it; how long that took. TimeoutError if it does not."""
    begun, read = time.monotonic(), b""
    while (left := begun + seconds - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            if not (data := connection.recv(65536)):
                break
            read = _answer_pings(connection, read + data)
        except (ConnectionError, ssl.SSLError):
            break
    else:
        raise TimeoutError(f"the connection was still open after {seconds} s")
    return time.monotonic() - begun


def _answer_pings(connection: socket.socket, read: bytes) -> bytes:
    """As a client that lives on; what is left of `read` after the last whole frame."""
    while len(read) >= 9 and len(read) >= (end := 9 + int.from_bytes(read[:3], "big")):
        kind, flags = read[3], read[4]
        if (kind, flags) == (PING, 0):
            connection.sendall(_frame(PING, ACK, 0, read[9:end]))
        read = read[end:]
    return read


LIST = "/abdomenatlas.storage.v1.StorageService/ListVolumes"
CHECK = "/grpc.health.v1.Health/Check"


@pytest.fixture(scope="module")
def hurried(closed_services: Callable[..., Closed]) -> Closed:
    """A storage with few places, which lets go of silent connections soon."""
    return closed_services("storage", max_connections=SILENT, connection_idle_seconds=SILENT_SECONDS)


def test_connections_that_speak_http2_and_then_fall_silent_make_room(hurried: Closed) -> None:
    """They take every place without a token; each is let go of, whether it made no call or half of one."""
    token = hurried.issuer.token("ann", "viewer")
    strangers = [speaking(hurried, ("", LIST)[number % 2]) for number in range(SILENT)]
    try:
        crowded = StorageServiceStub(hurried.with_token(token))
        with pytest.raises(grpc.RpcError):
            crowded.ListVolumes(pb.ListVolumesRequest(), timeout=2)
        newcomer = StorageServiceStub(hurried.with_token(token))
        newcomer.ListVolumes(pb.ListVolumesRequest(), timeout=60, wait_for_ready=True)
        for connection in strangers:
            wait_end(connection, SILENT_SECONDS + 15)
    finally:
        for connection in strangers:
            connection.close()


def test_a_call_whose_request_never_comes_keeps_no_place(hurried: Closed) -> None:
    """A health check, which takes no token, is ended in time; without a call under way the connection ends too."""
    with speaking(hurried, CHECK) as connection:
        assert wait_end(connection, REQUEST_SECONDS + SILENT_SECONDS + 20) > REQUEST_SECONDS - 5


def test_nobody_watches_the_health(hurried: Closed) -> None:
    """It would go on without a token and without end."""
    stub: Any = health_pb2_grpc.HealthStub(hurried.with_token(""))
    request = health_pb2.HealthCheckRequest()
    assert stub.Check(request, timeout=10).status == health_pb2.HealthCheckResponse.SERVING
    assert refusal(lambda: next(stub.Watch(request, timeout=10)))[0] == grpc.StatusCode.UNIMPLEMENTED


def test_a_client_that_was_let_go_of_does_not_notice(hurried: Closed) -> None:
    channel = hurried.with_token(hurried.issuer.token("ann", "viewer"))
    list_volumes(channel)
    threading.Event().wait(SILENT_SECONDS + 2)
    list_volumes(channel)


def test_idle_readers_of_metrics_do_not_keep_others_away_for_long(storage: Closed) -> None:
    """They hold the threads of the page for some seconds; calls do not notice."""
    sockets = idle(f"127.0.0.1:{storage.service.metrics_port}", 40)
    try:
        list_volumes(storage.with_token(storage.issuer.token("ann", "viewer")))
        wait_until(lambda: closed_by_the_server(sockets) == len(sockets), "the end of every connection", 60)
    finally:
        for connection in sockets:
            connection.close()

"""The page that Prometheus reads: over TLS if the service speaks TLS, for those who bring the token if there is one."""

import hmac
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

MAX_READERS = 16
"""Connections served at once, each by a thread; more are closed."""
READER_SECONDS = 4.0
LOOK_SECONDS = 5.0
"""How often the certificate is read again, at most."""


class MetricsPage:
    """Serves /metrics until it is closed. `token` "" asks for none, and no `certificate` means no TLS."""

    def __init__(self, host: str, port: int, token: str = "", certificate: tuple[Path, Path] | None = None) -> None:
        expected = f"Bearer {token}".encode() if token else b""

        class Handler(_Handler):
            def is_allowed(self) -> bool:
                given = self.headers.get("Authorization", "").encode()
                return not expected or hmac.compare_digest(given, expected)

        self._server = _Server((host, port), Handler, certificate)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    timeout = READER_SECONDS

    def is_allowed(self) -> bool:
        raise NotImplementedError

    def do_GET(self) -> None:
        if self.path.split("?")[0] not in ("/metrics", "/"):
            self.send_error(404)
            return
        if not self.is_allowed():
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Bearer")
            self.end_headers()
            return
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        page: bytes = encode(REGISTRY)
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a page every few seconds is no news."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        handler: Callable[..., BaseHTTPRequestHandler],
        certificate: tuple[Path, Path] | None,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._slots = threading.BoundedSemaphore(MAX_READERS)
        self._certificate, self._read = certificate, time.monotonic()
        self._context = _context(certificate) if certificate else None
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """A connection, whose handshake is left to the thread that serves it: a slow one holds nobody up."""
        connection, address = super().get_request()
        connection.settimeout(READER_SECONDS)
        if self._certificate and time.monotonic() - self._read > LOOK_SECONDS:
            self._read = time.monotonic()
            with suppress(OSError):  # in the middle of a rotation; what was read last stays
                self._context = _context(self._certificate)
        if self._context:
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve it in a thread, if one is free."""
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve it."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: who hangs up or speaks no TLS gets no answer, and the log no line for it."""


def _context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context

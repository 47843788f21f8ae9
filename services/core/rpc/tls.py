"""A server's certificate, read again when its files change, so that a rotation needs no restart."""

import threading
import time
from pathlib import Path

import grpc
import structlog

from services.core.errors import AtlasError
from services.core.rpc import pem

LOOK_SECONDS = 1.0
"""How often the files are looked at, at most; only a handshake makes anybody look."""

log = structlog.get_logger()


class Certificate:
    """PEM files of a certificate chain, its key and, for mutual TLS, the authorities of the clients' certificates.

    Files that do not fit together, as in the middle of a rotation, are not taken: what was read last stays.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None = None) -> None:
        """Raises FIELD_INVALID, naming the file, if there is nothing to begin with."""
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._looked, self._lock = time.monotonic(), threading.Lock()
        self._last = self._read()

    def credentials(self, *, mutual: bool) -> grpc.ServerCredentials:
        """Credentials of a listener that always shows the newest certificate and, if `mutual`, demands one."""
        shown = self._last

        def newest() -> grpc.ServerCertificateConfiguration | None:
            nonlocal shown
            if (read := self._newest()) == shown:
                return None
            shown = read
            return _configuration(read)

        # The stubs do not know that None means "as before".
        return grpc.dynamic_ssl_server_credentials(_configuration(shown), newest, mutual)  # type: ignore[arg-type]

    def _newest(self) -> tuple[bytes, ...]:
        with self._lock:
            if time.monotonic() - self._looked < LOOK_SECONDS:
                return self._last
            self._looked = time.monotonic()
            try:
                read = self._read()
            except AtlasError as error:
                log.warning("the new certificate is not taken", why=error.message, file=error.field)
                return self._last
            if read != self._last:
                log.info("certificate renewed", file=str(self._cert))
                self._last = read
            return read

    def _read(self) -> tuple[bytes, ...]:
        shown = pem.pair(self._cert, self._key)
        return (*shown, pem.authorities(self._client_ca)) if self._client_ca else shown


def _configuration(shown: tuple[bytes, ...]) -> grpc.ServerCertificateConfiguration:
    cert, key, *authorities = shown
    return grpc.ssl_server_certificate_configuration([(key, cert)], authorities[0] if authorities else None)

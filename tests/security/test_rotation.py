"""Certificates are replaced while calls run, down to a new authority, and no call fails."""

import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from services.core.errors import AtlasError
from services.core.rpc import credentials as client_credentials
from services.core.rpc.tls import Certificate
from tests.components.processes import wait_until
from tests.security.calls import list_volumes
from tests.security.conftest import Closed
from tests.security.pki import Authority, Pair

CALLERS = 4


class Load:
    """Calls without a pause from several threads, over one channel; what failed is kept."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.calls, self.failures, self._stop = 0, list[Exception](), threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(call,)) for _ in range(CALLERS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, call: Callable[[], object]) -> None:
        while not self._stop.is_set():
            try:
                call()
                self.calls += 1
            except Exception as error:
                self.failures.append(error)
            time.sleep(0.005)


def serial(address: str) -> int:
    """Serial number of the certificate that a server shows now."""
    host, port = address.rsplit(":", 1)
    return x509.load_pem_x509_certificate(ssl.get_server_certificate((host, int(port))).encode()).serial_number


def test_a_rotation_under_load_fails_no_call(
    closed_services: Callable[..., Closed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new certificate on both sides, then a new authority: both trusted, both sides renewed, the old one dropped.

    Connections live for a second, so that every step is met by new handshakes.
    """
    monkeypatch.setattr(client_credentials, "LOOK_SECONDS", 0.2)
    old, new = Authority(tmp_path), Authority(tmp_path / "new")
    ca, server, client = old.ca, Pair(tmp_path / "server.crt", tmp_path / "server.key"), old.service("merging")
    server.write(old.make("spiffe://abdomenatlas/storage"))
    closed = closed_services(
        "storage", tls_cert=server.cert, tls_key=server.key, tls_client_ca=ca, connection_age_seconds=1
    )
    channel = closed.over(closed.mutual, old.credentials(client))

    def settle(step: Callable[[], None]) -> None:
        shown = serial(closed.service.address)
        step()
        time.sleep(1.6)
        if step is renew_server:
            wait_until(lambda: serial(closed.service.address) != shown, "the new certificate", 60)

    authority = old

    def renew_server() -> None:
        server.write(authority.make("spiffe://abdomenatlas/storage"))

    def renew_client() -> None:
        client.write(authority.make("spiffe://abdomenatlas/merging"))

    with Load(lambda: list_volumes(channel)) as load:
        settle(renew_server)
        settle(renew_client)
        both = old.ca.read_bytes() + new.ca.read_bytes()
        settle(lambda: _replace(ca, both))
        authority = new
        settle(renew_server)
        settle(renew_client)
        settle(lambda: _replace(ca, new.ca.read_bytes()))
        before = load.calls
        wait_until(lambda: load.calls > before + 100, "calls after the last step", 60)
    assert load.failures == []
    assert load.calls > 500


def _replace(path: Path, data: bytes) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)


def test_files_that_do_not_fit_together_are_not_taken(tmp_path: Path) -> None:
    """In the middle of a rotation, or damaged: the last good certificate stays; at the start it is an error."""
    authority = Authority(tmp_path)
    pair, other = authority.service("storage"), authority.service("merging")
    certificate = Certificate(pair.cert, pair.key, authority.ca)
    good = certificate._newest()
    for spoil in (other.key.read_bytes(), b"", b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n"):
        pair.key.write_bytes(spoil)
        certificate._looked = 0.0
        assert certificate._newest() == good
        with pytest.raises(AtlasError) as caught:
            Certificate(pair.cert, pair.key)
        assert caught.value.field == str(pair.key)
    pair.write(authority.make())
    certificate._looked = 0.0
    assert certificate._newest() != good

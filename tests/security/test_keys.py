"""The issuer's keys over https: read once, found anew when they change, kept while the issuer is away."""

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.core.access.keys import LEAST_SECONDS, MAX_BYTES, STALE_SECONDS, Keys
from services.core.errors import AtlasError, Reason
from tests.security.issuer import Issuer
from tests.security.pki import Authority


class Provider:
    """An identity provider's https server; what it answers (with status 0 no HTTP), and how often it was asked."""

    def __init__(self, authority: Authority, body: bytes) -> None:
        self.status, self.body, self.asked = 200, body, 0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                if not provider.status:
                    self.wfile.write(provider.body)
                    return
                self.send_response(provider.status)
                if provider.status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(provider.body)))
                self.end_headers()
                self.wfile.write(provider.body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        pair = authority.service("provider")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.cert, pair.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}/keys"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("provider"))


@pytest.fixture(scope="module")
def issuer(authority: Authority) -> Issuer:
    return Issuer(authority.folder / "jwks.json")


@pytest.fixture
def provider(authority: Authority, issuer: Issuer) -> Iterator[Provider]:
    made = Provider(authority, issuer.jwks.read_bytes())
    yield made
    made.close()


async def reason(keys: Keys, kid: str) -> Reason | None:
    try:
        await keys.find(kid)
    except AtlasError as error:
        return error.reason
    return None


def test_keys_are_read_once_for_many_tokens(provider: Provider, authority: Authority) -> None:
    async def run() -> None:
        keys = Keys(provider.url, authority.ca)
        found = await asyncio.gather(*(keys.find("first") for _ in range(50)))
        assert len(set(map(id, found))) == 1
        assert (await keys.find("second")).algorithms == ("ES256",)

    asyncio.run(run())
    assert provider.asked == 1


def test_an_unknown_key_is_looked_for_but_not_at_every_call(provider: Provider, authority: Authority) -> None:
    """A flood of tokens with made-up keys is no flood at the issuer; a new key is found all the same."""

    async def run() -> None:
        clock = Clock()
        keys = Keys(provider.url, authority.ca, clock)
        for number in range(100):
            assert await reason(keys, f"made-up-{number}") == Reason.UNAUTHENTICATED
        assert provider.asked == 1
        entries = json.loads(provider.body)["keys"]
        provider.body = json.dumps({"keys": [{**entries[0], "kid": "renewed"}]}).encode()
        clock.now += LEAST_SECONDS["url"] + 1
        assert await reason(keys, "renewed") is None
        assert await reason(keys, "first") == Reason.UNAUTHENTICATED

    asyncio.run(run())
    assert provider.asked == 2


def test_known_keys_serve_while_the_issuer_is_away(provider: Provider, authority: Authority) -> None:
    """For a day; then no token can be checked, which is said as such."""

    async def run() -> None:
        clock = Clock()
        keys = Keys(provider.url, authority.ca, clock)
        await keys.find("first")
        provider.status = 503
        for _ in range(3):
            clock.now += STALE_SECONDS / 3 - 10
            assert await reason(keys, "first") is None
        clock.now += 60
        assert await reason(keys, "first") == Reason.DEPENDENCY_UNAVAILABLE

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (0, b"hello\r\n\r\n"),
        (0, b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000),
        (500, b""),
        (302, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"[" * MAX_BYTES),
        (200, b'{"keys": 7}'),
        (200, b" " * (MAX_BYTES + 1)),
    ],
)
def test_what_is_no_set_of_keys_opens_nothing(
    provider: Provider, authority: Authority, status: int, body: bytes
) -> None:
    provider.status, provider.body = status, body
    assert asyncio.run(reason(Keys(provider.url, authority.ca), "first")) == Reason.DEPENDENCY_UNAVAILABLE
    assert provider.asked == 1


def test_a_key_that_cannot_be_read_hides_no_other(provider: Provider, authority: Authority) -> None:
    entries = json.loads(provider.body)["keys"]
    provider.body = json.dumps({"keys": [{"kty": "RSA", "alg": ["RS256"]}, *entries]}).encode()
    assert asyncio.run(reason(Keys(provider.url, authority.ca), "first")) is None


def test_an_issuer_with_a_certificate_of_another_authority_is_not_believed(provider: Provider, tmp_path: Path) -> None:
    keys = Keys(provider.url, Authority(tmp_path).ca)
    assert asyncio.run(reason(keys, "first")) == Reason.DEPENDENCY_UNAVAILABLE
    assert provider.asked == 0


def test_a_token_without_a_key_id_is_of_the_only_key_there_is(provider: Provider, authority: Authority) -> None:
    async def run() -> None:
        keys = Keys(provider.url, authority.ca)
        assert await reason(keys, "") == Reason.UNAUTHENTICATED
        provider.body = json.dumps({"keys": json.loads(provider.body)["keys"][:1]}).encode()
        assert await reason(Keys(provider.url, authority.ca), "") is None

    asyncio.run(run())

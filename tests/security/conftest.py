"""Storage as hospital IT runs it: TLS, mutual TLS and tokens; and ways to call it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from services.cli.stack.child import is_serving
from services.core.rpc.client import connect
from services.core.rpc.credentials import Credentials
from tests.components.processes import free_port, wait_until
from tests.contract.service_process import ServiceProcess, launched
from tests.security.issuer import AUDIENCE, ISSUER, Issuer
from tests.security.pki import Authority


@dataclass
class Closed:
    """A service that is closed, who may open it, and what is needed to try."""

    authority: Authority
    issuer: Issuer
    service: ServiceProcess
    mutual: str
    health_port: int
    _channels: list[grpc.Channel] = field(default_factory=list)

    def with_token(self, token: str, address: str = "") -> grpc.Channel:
        """A plain gRPC channel over TLS whose calls carry `token`."""
        encrypted = grpc.ssl_channel_credentials(self.authority.ca.read_bytes())
        if token:
            bearer = grpc.access_token_call_credentials(token)
            encrypted = grpc.composite_channel_credentials(encrypted, bearer)
        return self._kept(grpc.secure_channel(address or self.service.address, encrypted))

    def as_service(self, name: str, *uris: str) -> grpc.Channel:
        """A channel of the product's own client under a service's certificate, at the mutual port."""
        pair = self.authority.issue(f"try-{name}", *(uris or (f"spiffe://abdomenatlas/{name}",)))
        return self.over(self.mutual, self.authority.credentials(pair))

    def over(self, address: str, credentials: Credentials, service: str = "") -> grpc.Channel:
        """A channel of the product's own client."""
        return self._kept(connect(address, credentials, service))

    def close(self) -> None:
        """Close all channels."""
        for channel in self._channels:
            channel.close()

    def _kept(self, channel: grpc.Channel) -> grpc.Channel:
        self._channels.append(channel)
        return channel


@pytest.fixture(scope="session")
def closed_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Closed]]:
    """Starts services that are closed; they stop at the end of the tests."""
    authority = Authority(tmp_path_factory.mktemp("pki"))
    issuer = Issuer(authority.folder / "jwks.json")
    with ExitStack() as stack:

        def start(name: str, **settings: object) -> Closed:
            home = tmp_path_factory.mktemp(name)
            pair, mutual, health = authority.service(name), free_port(), free_port()
            own = closed_settings(authority, issuer, pair.cert, pair.key, mutual, health)
            service = stack.enter_context(launched(name, home, **{**own, **settings}))
            closed = Closed(authority, issuer, service, f"127.0.0.1:{mutual}", health)
            stack.callback(closed.close)
            wait_until(lambda: healthy(service, health), f"{name} (log: {service.log})", 60)
            return closed

        yield start


def closed_settings(
    authority: Authority, issuer: Issuer, cert: Path, key: Path, mutual: int, health: int
) -> dict[str, object]:
    """What closes a service."""
    return {
        "tls_cert": cert,
        "tls_key": key,
        "tls_ca": authority.ca,
        "tls_client_ca": authority.ca,
        "mutual_port": mutual,
        "health_port": health,
        "oidc_issuer": ISSUER,
        "oidc_audience": AUDIENCE,
        "oidc_jwks": issuer.jwks,
        "metrics_token": "metrics-word",
    }


def healthy(service: ServiceProcess, port: int) -> bool:
    """Whether the health port without TLS says SERVING."""
    assert service.process.poll() is None, service.log.read_text()
    return is_serving(f"127.0.0.1:{port}", 5)


@pytest.fixture(scope="session")
def storage(closed_services: Callable[..., Closed]) -> Closed:
    """A closed storage service."""
    return closed_services("storage")

"""Where a service listens, for whom, and how much of it strangers may take."""

import resource
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from services.core.access.guard import Guard
from services.core.access.keys import Keys
from services.core.access.tokens import Tokens
from services.core.errors import AtlasError, Reason
from services.core.rpc.metrics_page import MetricsPage
from services.core.rpc.settings import ServiceSettings
from services.core.rpc.tls import Certificate

HANDSHAKE_SECONDS = 10
LONGEST_CALL_SECONDS = 4 * 3600
"""What a call may go on for on a connection that grew too old."""
METADATA_BYTES = 16 * 1024
MUTUAL_ABOVE = 100

T = TypeVar("T")


def guard(settings: ServiceSettings) -> Guard:
    """How callers say who they are, by the settings."""
    tokens = None
    if settings.oidc_issuer:
        keys = Keys(settings.oidc_jwks, settings.oidc_ca)
        tokens = Tokens(
            settings.oidc_issuer, settings.oidc_audience, keys, settings.oidc_role_claim, settings.oidc_subject_claim
        )
    return Guard(tokens, settings.service_san if settings.tls_client_ca else "")


class Ports:
    """The ports of one service. Raises FIELD_INVALID, naming the file, if the certificate cannot be used."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        # As gRPC wants an IPv6 address.
        self._host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self._certificate = None
        if settings.tls_cert and settings.tls_key:
            self._certificate = Certificate(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        self.options = _options(settings)
        _allow_files(3 * settings.max_connections + 1000)

    def open(self, server: grpc.aio.Server) -> dict[str, int]:
        """Listen for calls; the ports, by the names that the log gives them. Raises FIELD_INVALID if one is taken."""
        port = self._settings.port
        if self._certificate is None:
            return {"port": self._bound("port", port, server.add_insecure_port)}
        credentials = self._certificate.credentials(mutual=False)
        found = {"port": self._bound("port", port, lambda address: server.add_secure_port(address, credentials))}
        if self._settings.tls_client_ca:
            mutual = self._settings.mutual_port
            if mutual is None:
                mutual = port + MUTUAL_ABOVE if port else 0
            both = self._certificate.credentials(mutual=True)
            found["mutual_port"] = self._bound(
                "mutual_port", mutual, lambda address: server.add_secure_port(address, both)
            )
        return found

    async def open_health(self, health: health_aio.HealthServicer) -> grpc.aio.Server | None:
        """Listen for health checks without TLS, which tell nothing but SERVING, if the settings say so.

        Raises FIELD_INVALID if the port is taken.
        """
        if self._settings.health_port is None:
            return None
        server = grpc.aio.server(options=self.options)
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        self._bound("health_port", self._settings.health_port, server.add_insecure_port)
        await server.start()
        return server

    def open_metrics(self) -> MetricsPage:
        """Listen for Prometheus. Raises FIELD_INVALID if the port is taken."""
        settings, port = self._settings, self._settings.metrics_port
        pair = (settings.tls_cert, settings.tls_key) if settings.tls_cert and settings.tls_key else None
        token = settings.metrics_token.get_secret_value()
        return self._bound("metrics_port", port, lambda _: MetricsPage(settings.host, port, token, pair))

    def _bound(self, setting: str, port: int, listen: Callable[[str], T]) -> T:
        """What `listen` makes of the address. Raises FIELD_INVALID, naming the setting's variable, if it cannot."""
        address = f"{self._host}:{port}"
        try:
            return listen(address)
        except (RuntimeError, OSError) as error:  # of gRPC, which does not say why, and of a socket
            prefix = self._settings.model_config.get("env_prefix", "")
            raise AtlasError(
                Reason.FIELD_INVALID,
                f"Nothing can listen at {address}.",
                field=f"{prefix}{setting}".upper(),
                remedy=f"Name a port that no other process has, and an address of this machine as {prefix}HOST.",
            ) from error


def _options(settings: ServiceSettings) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # Beyond the first a call is refused at random, beyond the second always.
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES),
        # Without SO_REUSEPORT a second process on the same port fails instead of stealing half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_SECONDS * 1000),
        ("grpc.max_connection_idle_ms", round(settings.connection_idle_seconds * 1000)),
        ("grpc.max_connection_age_ms", round(settings.connection_age_seconds * 1000)),
        ("grpc.max_connection_age_grace_ms", LONGEST_CALL_SECONDS * 1000),
    ]


def _allow_files(count: int) -> None:
    """Let this process have as many files open as its connections need, if the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

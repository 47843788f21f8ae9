"""Settings that every service has, read once from the environment."""

from ipaddress import ip_address
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """Where a service listens and how it stops. A subclass sets the environment prefix and the default ports."""

    model_config = SettingsConfigDict(frozen=True, use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on, for gRPC and metrics."""
    port: int = Field(ge=0, le=65535)
    """TCP port for gRPC; 0 takes a free one, which the log names."""
    metrics_port: int = Field(ge=0, le=65535)
    """TCP port for Prometheus; 0 takes a free one, which the log names."""
    drain_seconds: float = Field(30.0, gt=0, le=3600)
    """How long calls in flight may go on after SIGTERM."""
    max_message_bytes: int = Field(4 * 2**20, ge=2**16, le=2**28)
    """Largest message taken or sent. Bulk bytes come in chunks of 1 MiB, so little more is needed."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged."""
    insecure: bool = False
    """Allow to listen off loopback without TLS and authentication, behind a proxy that does both."""

    @model_validator(mode="after")
    def _closed_by_default(self) -> Self:
        if not self.insecure and not (self.host == "localhost" or _is_loopback(self.host)):
            raise ValueError(
                f"refusing to listen on {self.host}, which is not loopback, without TLS and authentication; "
                "set INSECURE=true under this service's prefix if something in front of it does both"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

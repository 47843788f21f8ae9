"""Settings that every service has, read once from the environment."""

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """Where a service listens and how it stops. A subclass sets the environment prefix and the default ports.

    A secret may also come from a file, as orchestrators mount them: `<VARIABLE>_FILE` names it.
    """

    model_config = SettingsConfigDict(frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)

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

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then secret files, then the environment; nothing else."""
        return init_settings, _SecretFiles(settings_cls), env_settings

    @model_validator(mode="after")
    def _closed_by_default(self) -> Self:
        if not self.insecure and not (self.host == "localhost" or _is_loopback(self.host)):
            raise ValueError(
                f"refusing to listen on {self.host}, which is not loopback, without TLS and authentication; "
                "set INSECURE=true under this service's prefix if something in front of it does both"
            )
        return self


class _SecretFiles(PydanticBaseSettingsSource):
    """Secrets from the files that `<VARIABLE>_FILE` name."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The stripped text of the field's file, or None."""
        variable = f"{self.config['env_prefix']}{field_name}_file".upper()
        path = os.environ.get(variable) if field.annotation is SecretStr else None
        return (Path(path).read_text().strip() if path else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All fields that have a file."""
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

"""Settings that every service has, read once from the environment."""

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from services.core.errors import AtlasError, Reason
from services.core.rpc.credentials import Credentials
from services.core.rpc.security_settings import SecuritySettings


class ServiceSettings(SecuritySettings):
    """Where a service listens and how it stops. A subclass sets the environment prefix and the default ports.

    A secret may also come from a file, as orchestrators mount them: `<VARIABLE>_FILE` names it.
    """

    port: int = Field(ge=0, le=65535)
    """TCP port for gRPC; 0 takes a free one, which the log names."""
    metrics_port: int = Field(ge=0, le=65535)
    """TCP port for Prometheus; 0 takes a free one, which the log names. It speaks TLS if `port` does."""
    health_port: int | None = Field(None, ge=0, le=65535)
    """TCP port for gRPC health checks alone, without TLS, for a kubelet, which knows none; closed by default."""
    drain_seconds: float = Field(30.0, gt=0, le=3600)
    """How long calls in flight may go on after SIGTERM."""
    max_message_bytes: int = Field(4 * 2**20, ge=2**16, le=2**28)
    """Largest message taken or sent. Bulk bytes come in chunks of 1 MiB, so little more is needed."""
    max_connections: int = Field(1000, ge=1, le=100_000)
    """Connections that each port has at once; more are closed at once."""
    connection_idle_seconds: float = Field(60.0, ge=1)
    """How long a connection may be without a call before it is closed; its client makes a new one when it needs it."""
    connection_age_seconds: float = Field(1800.0, ge=1)
    """How old a connection becomes before its client is asked to make a new one: it then sees new replicas and shows
    its newest certificate. Calls in flight end first."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged."""

    @classmethod
    def load(cls) -> Self:
        """The settings in the environment; what is wrong with them ends the process with a sentence for each.

        The sentences name the variable and never its value.
        """
        try:
            return cls()
        except ValidationError as error:
            prefix = str(cls.model_config.get("env_prefix", ""))
            lines = (f"{_variable(prefix, item['loc'])}{_sentence(item['msg'])}" for item in error.errors())
            raise SystemExit("\n".join(lines)) from None
        except AtlasError as error:
            raise SystemExit(str(error)) from None

    @property
    def credentials(self) -> Credentials | None:
        """What this service shows to the others and whom it trusts; None means calls without TLS."""
        return Credentials(self.tls_ca, self.tls_cert, self.tls_key) if self.tls_ca else None

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


class _SecretFiles(PydanticBaseSettingsSource):
    """Secrets from the files that `<VARIABLE>_FILE` name."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The stripped text of the field's file, or None. Raises FIELD_INVALID if it cannot be read."""
        variable = f"{self.config['env_prefix']}{field_name}_file".upper()
        path = os.environ.get(variable) if field.annotation is SecretStr else None
        try:
            return (Path(path).read_text().strip() if path else None), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise AtlasError(
                Reason.FIELD_INVALID,
                "The file it names cannot be read.",
                field=variable,
                remedy="Name a text file that this process may read.",
            ) from error

    def __call__(self) -> dict[str, Any]:
        """All fields that have a file."""
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


def _variable(prefix: str, location: tuple[int | str, ...]) -> str:
    return f"{prefix}{location[0]}: ".upper() if location else ""


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ")

"""Settings of the storage service, from environment variables that begin with ATLAS_STORAGE_."""

import ssl
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from services.core.database import DatabaseUrl
from services.core.memory import total_bytes
from services.core.rpc.settings import ServiceSettings

BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
"""Pattern of what S3 takes as the name of a bucket."""
ENDPOINT = r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
"""Pattern of a host, with a port or without."""


class Settings(ServiceSettings):
    """What the storage service is told. Beside these: `services.core.rpc.settings`."""

    # A validation error would otherwise show what was given, secrets among it.
    model_config = SettingsConfigDict(env_prefix="ATLAS_STORAGE_", frozen=True)

    port: int = Field(50051, ge=0, le=65535)
    """TCP port for gRPC; 0 takes a free one, which the log names."""
    metrics_port: int = Field(9151, ge=0, le=65535)
    """TCP port for Prometheus; 0 takes a free one, which the log names."""

    objects: str = Field("file:atlas-data/objects", pattern=rf"^(file:.|s3://{BUCKET}(/|$))")
    """Where the bytes are: "file:FOLDER", or "s3://BUCKET" or "s3://BUCKET/PREFIX" of the server at `s3_endpoint`."""
    s3_endpoint: str = Field("", pattern=rf"^({ENDPOINT})?$")
    """Host and port of the S3 server, without scheme."""
    s3_region: str = "us-east-1"
    """Region that requests are signed for."""
    s3_secure: bool = True
    """Whether to talk TLS to the S3 server."""
    s3_ca_bundle: Path | None = None
    """PEM file of the authorities that the S3 server's certificate may come from; the machine's own by default."""
    s3_access_key: SecretStr = SecretStr("")
    """Access key."""
    s3_secret_key: SecretStr = SecretStr("")
    """Secret key."""

    database_url: DatabaseUrl = SecretStr("sqlite:///atlas-data/catalog.db")
    """SQLAlchemy URL of the catalog: sqlite, for one storage process, or postgresql+psycopg, for any number. Each
    opens at most 19 connections and two for every one of `concurrent_streams` and `concurrent_ingests`; ten stay."""

    max_object_bytes: int = Field(8 * 2**30, ge=1, le=5 * 2**40)
    """Largest object taken."""
    max_open_uploads: int = Field(1000, ge=1)
    """Uploads that may be open at once."""
    upload_ttl_seconds: int = Field(24 * 3600, ge=1, le=30 * 24 * 3600)
    """How long an upload may rest before it is given up and its bytes are deleted."""
    unclaimed_days: int = Field(7, ge=1, le=3650)
    """How long the bytes of a finished upload stay that no record names: files that were refused or never imported, and
    may hold texts about a patient. Then they are deleted, and what had been cleaned of them, except what was asked to
    be kept, as networks are."""
    upload_idle_seconds: float = Field(60.0, gt=0)
    """How long a WriteUpload may be silent, or a ReadObject not be read, before it is ended; both can be resumed."""
    sweep_seconds: float = Field(60.0, gt=0)
    """How often uploads that were given up, or whose bytes nothing names, are looked for."""
    concurrent_streams: int = Field(16, ge=1, le=256)
    """WriteUpload and ReadObject calls served at once, each; more wait. One needs about 32 MiB."""
    concurrent_ingests: int = Field(4, ge=1, le=64)
    """CreateVolume and ImportLabelVersion calls served at once, and as many that record arrays; more wait."""
    memory_bytes: int = Field(default_factory=lambda: total_bytes() // 2, gt=0)
    """What all volumes and labels being checked may use together; half of the memory by default. A volume that needs
    more alone is refused."""

    @field_validator("s3_ca_bundle")
    @classmethod
    def _authorities_can_be_read(cls, bundle: Path | None) -> Path | None:
        try:
            ssl.create_default_context(cafile=bundle)
        except OSError as error:
            raise ValueError(f"No authorities can be read from this file: {error.strerror}") from error
        return bundle

    @model_validator(mode="after")
    def _s3_is_complete(self) -> Self:
        if self.objects.startswith("s3://") and not (self.s3_endpoint and self.s3_access_key and self.s3_secret_key):
            raise ValueError("objects on S3 need s3_endpoint, s3_access_key and s3_secret_key")
        return self

"""Settings of the merging service, from environment variables that begin with ATLAS_MERGING_."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.core.memory import total_bytes
from services.core.rpc.settings import ServiceSettings


class Settings(ServiceSettings):
    """See also `ServiceSettings`."""

    model_config = SettingsConfigDict(env_prefix="ATLAS_MERGING_", frozen=True)

    port: int = Field(50054, ge=0, le=65535)
    metrics_port: int = Field(9154, ge=0, le=65535)
    storage: str = "127.0.0.1:50051"
    """Address of the storage service, "host:port"."""
    memory_bytes: int = Field(default_factory=lambda: total_bytes() // 2, ge=2**26)
    """What all volumes at work together may need; more wait, and one that needs more alone is refused. The default is
    half of the machine's or container's memory."""

"""Settings of the inference service, from environment variables that begin with ATLAS_INFERENCE_."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from services.core.memory import total_bytes
from services.core.rpc.settings import ServiceSettings


class Settings(ServiceSettings):
    """What the inference service is told. Beside these: `services.core.rpc.settings`."""

    model_config = SettingsConfigDict(env_prefix="ATLAS_INFERENCE_", frozen=True)

    port: int = Field(50052, ge=0, le=65535)
    """TCP port for gRPC; 0 takes a free one, which the log names."""
    metrics_port: int = Field(9152, ge=0, le=65535)
    """TCP port for Prometheus; 0 takes a free one, which the log names."""
    storage: str = "127.0.0.1:50051"
    """Address of the storage service."""
    triton: str = "127.0.0.1:8001"
    """gRPC address of Triton."""
    triton_tls: bool = False
    """Whether Triton is spoken to over TLS, with this service's certificate: a Triton that demands one answers nobody
    else. Needs `tls_ca`."""
    model_repository: Path | None = None
    """The folder that Triton serves its models from, where this service sees it too: versions are promoted and rolled
    back there. Without it they are not."""
    model_seconds: float = Field(1800.0, gt=0)
    """How long one model may work on one volume: seconds on a GPU, minutes on a CPU."""
    concurrent_predictions: int = Field(4, ge=1, le=64)
    """Predictions in hand at once; more wait. Triton has its own queue, so this only needs to keep it busy."""
    memory_bytes: int = Field(default_factory=lambda: total_bytes() // 2, gt=0)
    """What all predictions in hand may use together; half of the memory by default. A volume that needs more alone is
    refused."""
    cache_bytes: int = Field(default_factory=lambda: min(total_bytes() // 16, 2**30), ge=0)
    """CTs on the network grid kept for the next model, beside `memory_bytes`; 1/16 of the memory but at most 1 GiB by
    default."""

    @model_validator(mode="after")
    def _triton_can_be_trusted(self) -> Self:
        if self.triton_tls and not self.tls_ca:
            raise ValueError("TRITON_TLS needs TLS_CA, the authorities of Triton's certificate")
        return self

"""Starts the uncertainty service: `python -m services.uncertainty`."""

from abdomenatlas.uncertainty.v1.uncertainty_pb2_grpc import add_UncertaintyServiceServicer_to_server
from services.core.memory import MemoryGate
from services.core.rpc.server import run
from services.core.storage import Storage
from services.uncertainty.servicer import UncertaintyServicer
from services.uncertainty.settings import Settings
from services.uncertainty.warm import warm


def main() -> None:
    """Serve until SIGTERM."""
    settings = Settings.load()
    gate = MemoryGate(settings.memory_bytes)
    run(
        settings,
        "abdomenatlas.uncertainty.v1.UncertaintyService",
        add_UncertaintyServiceServicer_to_server,
        UncertaintyServicer(Storage(settings.storage, settings.credentials), gate),
        gate=gate,
        startup=warm,
    )


if __name__ == "__main__":
    main()

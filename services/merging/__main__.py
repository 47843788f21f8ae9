"""Starts the merging service: `python -m services.merging`."""

from abdomenatlas.merging.v1.merging_pb2_grpc import add_MergingServiceServicer_to_server
from services.core.memory import MemoryGate
from services.core.rpc.server import run
from services.core.storage import Storage
from services.merging.servicer import MergingServicer
from services.merging.settings import Settings
from services.merging.warm import warm


def main() -> None:
    """Serve until SIGTERM."""
    settings = Settings.load()
    gate = MemoryGate(settings.memory_bytes)
    run(
        settings,
        "abdomenatlas.merging.v1.MergingService",
        add_MergingServiceServicer_to_server,
        MergingServicer(Storage(settings.storage, settings.credentials), gate),
        gate=gate,
        startup=warm,
    )


if __name__ == "__main__":
    main()

"""Starts the scheduler service: `python -m services.scheduler`."""

from abdomenatlas.scheduler.v1.scheduler_pb2_grpc import add_SchedulerServiceServicer_to_server
from services.core.errors import AtlasError
from services.core.rpc.server import run
from services.scheduler.service import Service
from services.scheduler.settings import Settings


def main() -> None:
    """Serve until SIGTERM."""
    settings = Settings.load()
    service = Service(settings)
    try:
        service.prepare()
    except AtlasError as error:
        raise SystemExit(f"scheduler: {error}") from error
    run(
        settings,
        "abdomenatlas.scheduler.v1.SchedulerService",
        add_SchedulerServiceServicer_to_server,
        service.servicer,
        startup=service.start,
        shutdown=service.stop,
    )


if __name__ == "__main__":
    main()

"""`python -m services.scheduler`: wiring. `python -m services.scheduler migrate` only brings the tables up to date."""

import sys

from abdomenatlas.scheduler.v1.scheduler_pb2_grpc import add_SchedulerServiceServicer_to_server
from services.core.errors import AtlasError
from services.core.rpc.server import run
from services.scheduler.database import Database
from services.scheduler.service import Service
from services.scheduler.settings import Settings


def main() -> None:
    """Serve until SIGTERM."""
    settings = Settings.load()
    try:
        if sys.argv[1:] == ["migrate"]:
            _migrate(Database(settings.url))
            return
        service = Service(settings)
        service.prepare()
    except AtlasError as error:
        raise SystemExit(f"scheduler: {error}") from error
    run(
        settings,
        "abdomenatlas.scheduler.v1.SchedulerService",
        add_SchedulerServiceServicer_to_server,
        service.servicer,
        audit=service.audit,
        startup=service.start,
        shutdown=service.stop,
    )


def _migrate(database: Database) -> None:
    try:
        database.migrate()
    finally:
        database.close()


if __name__ == "__main__":
    main()

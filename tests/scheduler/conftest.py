"""A scheduler among in-memory twins of the other services, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from services.scheduler.database import Database
from tests.scheduler.running import Scheduler
from tests.scheduler.world import Server, World


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/scheduler.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Yield a migrated database, of each kind in turn."""
    database = Database(make_url(database_url))
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def world() -> World:
    """Return a world of three volumes; the source of "b" labelled the liver."""
    return World(sources={"a": (), "b": ("liver",), "c": ()})


@pytest.fixture
def workers(world: World) -> Iterator[Server]:
    """Yield the running services of the world."""
    server = Server(world)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def scheduler(workers: Server, tmp_path: Path) -> Iterator[Scheduler]:
    """Yield a scheduler process on SQLite."""
    with Scheduler(f"sqlite:///{tmp_path}/scheduler.db", workers.address, tmp_path) as scheduler:
        yield scheduler

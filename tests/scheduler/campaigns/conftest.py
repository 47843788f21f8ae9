"""One scheduler and the services that it calls, for all tests of a module."""

import uuid
from collections.abc import Iterator

import pytest

from tests.scheduler.running import Scheduler
from tests.scheduler.world import Server, World


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Scheduler]]:
    """Yield one scheduler process on SQLite, and the services that it calls, for all tests of this module."""
    folder = tmp_path_factory.mktemp("shared")
    server = Server(World(sources={}))
    server.start()
    with Scheduler(f"sqlite:///{folder}/scheduler.db", server.address, folder) as scheduler:
        yield server, scheduler
    server.stop()


@pytest.fixture
def scheduler(shared: tuple[Server, Scheduler]) -> Scheduler:
    """Return the shared scheduler."""
    return shared[1]


@pytest.fixture
def world(shared: tuple[Server, Scheduler], world: World) -> World:
    """Return a new world, put behind the shared services."""
    shared[0].world = world
    return world


@pytest.fixture
def name() -> str:
    """Return the id of the test's own campaign."""
    return f"c-{uuid.uuid4().hex[:8]}"

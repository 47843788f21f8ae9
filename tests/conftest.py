"""Real components and real data, started or found once per test session."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components import ceph as ceph_starter
from tests.components import postgres as postgres_starter
from tests.components.require import require


def pytest_sessionstart() -> None:
    """Let SIGTERM (a time limit, `make` that is stopped) end the tests like Ctrl-C, so that servers are taken down."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: gzip's hold the second of their making, and processes must agree on names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def ceph() -> Iterator[ceph_starter.S3Server]:
    """Yield a real S3 server (Ceph RGW)."""
    require(not ceph_starter.missing(), f"Ceph is not installed: apt-get install {' '.join(ceph_starter.PACKAGES)}")
    with ceph_starter.ceph() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Yield the SQLAlchemy URL of a real PostgreSQL server."""
    with postgres_starter.postgres() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """Yield the SQLAlchemy URL of an empty PostgreSQL database of the test's own."""
    with postgres_starter.fresh_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real CTs that ATLAS_REAL_DATA names. They are no part of the project: unset, tests skip."""
    folder = os.environ.get("ATLAS_REAL_DATA")
    if folder is None:
        pytest.skip("ATLAS_REAL_DATA names no folder of real CTs")
    assert Path(folder).is_dir(), f"ATLAS_REAL_DATA={folder} is not a folder"
    return Path(folder)

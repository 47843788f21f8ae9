"""Connections to the catalog's database and its schema."""

from pathlib import Path

from sqlalchemy import Engine

from services.core import database
from services.core.errors import AtlasError, Reason

_MIGRATION_LOCK = 0x61746C6173  # "atlas"


def connect(url: str, *, threads: int = 20) -> Engine:
    """An engine over at most `threads` connections; see `services.core.database.connect`."""
    return database.connect(database.parse(url), threads)


def upgrade(engine: Engine) -> None:
    """Bring the schema up to date; processes that start together wait for the first. Raises DEPENDENCY_UNAVAILABLE."""
    with database.answering(unavailable):
        database.migrate(engine, Path(__file__).parent / "migrations", _MIGRATION_LOCK)


def unavailable() -> AtlasError:
    """The error of a database that does not answer. It says nothing of the address, which may hold a password."""
    return AtlasError(
        Reason.DEPENDENCY_UNAVAILABLE,
        "The catalog's database does not answer.",
        field="database_url",
        remedy="Check whether it runs and whether the storage service may log in.",
    )

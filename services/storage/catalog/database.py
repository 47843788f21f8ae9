"""Connections to the catalog's database and its schema."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from services.core.errors import AtlasError, Reason

_BUSY_SECONDS = 30
_KEPT = 10
_MIGRATION_LOCK = 0x61746C6173  # "atlas"


def connect(url: str, *, threads: int = 20) -> Engine:
    """An engine for SQLite (write-ahead log, one writer waits for another) or PostgreSQL. Nothing is opened yet.

    At most `threads` connections are open at once, and ten are kept.
    """
    parsed = make_url(url)
    pool = {"pool_size": min(threads, _KEPT), "max_overflow": max(threads - _KEPT, 0)}
    if parsed.get_backend_name() == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, connect_args={"timeout": _BUSY_SECONDS}, **pool)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return create_engine(parsed, pool_pre_ping=True, connect_args={"connect_timeout": 5}, **pool)


def upgrade(engine: Engine) -> None:
    """Bring the schema up to date; processes that start together wait for the first. Raises DEPENDENCY_UNAVAILABLE."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    try:
        with engine.execution_options(writes=True).begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except OperationalError as error:
        raise unavailable() from error


def unavailable() -> AtlasError:
    """The error of a database that does not answer. It says nothing of the address, which may hold a password."""
    return AtlasError(
        Reason.DEPENDENCY_UNAVAILABLE,
        "The catalog's database does not answer.",
        field="database_url",
        remedy="Check whether it runs and whether the storage service may log in.",
    )


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver must not open transactions by itself: it would begin them as readers, and a reader that becomes a
    # writer fails at once instead of waiting.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Any) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

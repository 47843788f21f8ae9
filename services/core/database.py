"""Databases as services use them: SQLite for one machine, PostgreSQL for many replicas, and the migrations of both."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from alembic import command
from alembic.config import Config
from pydantic import AfterValidator, SecretStr
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from services.core.errors import AtlasError, Reason

_BUSY_SECONDS = 30
_CONNECT_SECONDS = 5
_POOL_SECONDS = 30
_KEPT_CONNECTIONS = 10
# As SQLAlchemy reads them: the password ends at its first "@".
_CREDENTIALS = re.compile(r"^[\w+]+://([^:/]*(:[^@]*)?@)?")


def parse(url: str) -> URL:
    """A SQLAlchemy URL of SQLite or PostgreSQL, with the driver that this product uses.

    Raises ValueError with a sentence that shows nothing of `url`, in which a password may stand anywhere.
    """
    refused = ValueError(
        "This is not a SQLAlchemy URL such as sqlite:///path or postgresql://user:password@host/name. "
        'Percent-encode "@", ":" and "/" in the password, and "@" after the "?".'
    )
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise refused from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return parsed
    if backend != "postgresql" or "@" in _CREDENTIALS.sub("", url):
        raise refused
    return parsed.set(drivername="postgresql+psycopg")


def _parsing(url: SecretStr) -> SecretStr:
    parse(url.get_secret_value())
    return url


DatabaseUrl = Annotated[SecretStr, AfterValidator(_parsing)]
"""A setting that `parse` takes."""


def connect(url: URL, connections: int) -> Engine:
    """An engine over at most `connections` at once, of which ten are kept. Nothing is opened yet.

    On SQLite (write-ahead log) its transactions may only read; `writing` gives the engine whose transactions may write.
    Raises DEPENDENCY_UNAVAILABLE if the folder of its file cannot be made.
    """
    kept = min(connections, _KEPT_CONNECTIONS)
    pool = {"pool_size": kept, "max_overflow": connections - kept, "pool_timeout": _POOL_SECONDS}
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": _CONNECT_SECONDS}, **pool)
    if url.database and url.database != ":memory:":
        _make_folder(Path(url.database).absolute().parent)
    waiting = {"timeout": _BUSY_SECONDS, "check_same_thread": False}
    engine = create_engine(url, connect_args=waiting, **pool)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def writing(engine: Engine) -> Engine:
    """The same engine, for transactions that write: on SQLite each waits for the one before it from its start on."""
    return engine.execution_options(writes=True)


def migrate(engine: Engine, scripts: Path, lock: int) -> None:
    """Bring the tables to the shape that Alembic's `scripts` end with; processes that start together take turns.

    `lock` is the number of the advisory lock on PostgreSQL, one for every set of tables.
    """
    config = Config()
    config.set_main_option("script_location", str(scripts))
    with writing(engine).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def answering(unavailable: Callable[[], AtlasError]) -> Iterator[None]:
    """Raise `unavailable()` where the database does not answer, or no connection comes free in time."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolExhausted) as error:
        raise unavailable() from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AtlasError(
            Reason.DEPENDENCY_UNAVAILABLE,
            f"The folder of the database cannot be made: {error.strerror or type(error).__name__}.",
            field="database_url",
            remedy=f"Check the disk and the permissions of {folder}.",
        ) from error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver must not open transactions by itself: it would begin them as readers, and a reader that becomes a
    # writer fails at once instead of waiting.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

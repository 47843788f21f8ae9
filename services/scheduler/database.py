"""The connection to the scheduler's own tables: transactions, migrations, and who may run."""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import IO

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.orm import Session

from services.core.errors import AtlasError, Reason

_BUSY_SECONDS = 30
_POOL_SECONDS = 30
_KEPT_CONNECTIONS = 10
_MIGRATION_LOCK, _HOUSEKEEPING_LOCK, _EXECUTOR_LOCK = 7001, 7002, 7003


class Database:
    """SQLite (WAL) or PostgreSQL, over at most `connections` at once.

    A failed connection, or none that comes free in time, is raised as DEPENDENCY_UNAVAILABLE.
    """

    def __init__(self, url: URL, connections: int = _KEPT_CONNECTIONS) -> None:
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.url = url
        self._engine = _sqlite(url, connections) if self.is_sqlite else _postgresql(url, connections)
        self._reading = self._engine.execution_options(atlas_read=True)
        self._held: IO[str] | Connection | None = None

    @contextmanager
    def change(self) -> Iterator[Session]:
        """A transaction that writes. It is committed on leaving, or rolled back if an exception leaves."""
        with _translated(), Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads, and sees one state of the database where that is cheap (SQLite)."""
        with _translated(), Session(self._reading) as session, session.begin():
            yield session

    def migrate(self) -> None:
        """Bring the tables to this version's shape; several replicas may try at once."""
        config = Config()
        config.set_main_option("script_location", str(resources.files("services.scheduler") / "migrations"))
        with _translated(), self._engine.begin() as connection:
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def occupy(self, executor: str) -> None:
        """Be the only process on this SQLite database, or the only one of this name on PostgreSQL, until `close`.

        The operating system or the server ends the hold when the process dies. Raises FIELD_INVALID.
        """
        if self.is_sqlite:
            self._held = _lock_file(Path(f"{self.url.database}.lock"))
            return
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        # If this whole machine dies, the server shall notice in half a minute and not in two hours.
        for setting, value in (("idle", 10), ("interval", 5), ("count", 4)):
            connection.exec_driver_sql(f"SET tcp_keepalives_{setting} = {value}")
        key = int.from_bytes(hashlib.sha256(executor.encode()).digest()[:4], "big", signed=True)
        taken = connection.execute(
            text("SELECT pg_try_advisory_lock(:group, :key)"), {"group": _EXECUTOR_LOCK, "key": key}
        ).scalar_one()
        if not taken:
            connection.close()
            raise _occupied(f"Another scheduler runs as executor {executor!r}.", "Give every replica its own id.")
        self._held = connection

    @contextmanager
    def housekeeping(self) -> Iterator[bool]:
        """Whether this process is the one that keeps house now; the others get False until it leaves or dies."""
        if self.is_sqlite:
            yield True
            return
        with _translated(), self._engine.begin() as connection:
            statement = text("SELECT pg_try_advisory_xact_lock(:key)")
            yield bool(connection.execute(statement, {"key": _HOUSEKEEPING_LOCK}).scalar_one())

    def close(self) -> None:
        """Give everything back."""
        if self._held is not None:
            self._held.close()
            self._held = None
        self._engine.dispose()


def _pool(connections: int) -> dict[str, int]:
    kept = min(connections, _KEPT_CONNECTIONS)
    return {"pool_size": kept, "max_overflow": connections - kept, "pool_timeout": _POOL_SECONDS}


def _postgresql(url: URL, connections: int) -> Engine:
    return create_engine(url, pool_pre_ping=True, **_pool(connections))


def _sqlite(url: URL, connections: int) -> Engine:
    Path(url.database or "").absolute().parent.mkdir(parents=True, exist_ok=True)
    waiting = {"timeout": _BUSY_SECONDS, "check_same_thread": False}
    engine = create_engine(url, connect_args=waiting, **_pool(connections))

    @event.listens_for(engine, "connect")
    def _prepare(connection, _record) -> None:  # type: ignore[no-untyped-def]
        # pysqlite would begin transactions by its own rules, too late; ours begin in `_begin`.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes the lock at once: upgrading a read lock later fails if somebody wrote in between.
        reads = connection.get_execution_options().get("atlas_read", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _lock_file(path: Path) -> IO[str]:
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise _occupied(
            f"Another scheduler runs on this SQLite database ({path}).",
            "Stop it, or use PostgreSQL, where several may run.",
        ) from error
    return file


def _occupied(message: str, remedy: str) -> AtlasError:
    return AtlasError(Reason.FIELD_INVALID, message, field="database", remedy=remedy)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolExhausted) as error:
        raise AtlasError(
            Reason.DEPENDENCY_UNAVAILABLE,
            "The scheduler's database does not answer.",
            field="database",
            remedy="Is it running, is there space on its disk, and can it keep up?",
        ) from error

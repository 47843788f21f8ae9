"""The connection to the scheduler's own tables: transactions, migrations, and who may run."""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, text
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

from services.core.database import answering, connect, migrate, writing
from services.core.errors import AtlasError, Reason

_CONNECTIONS = 10
_MIGRATION_LOCK, _HOUSEKEEPING_LOCK, _EXECUTOR_LOCK = 7001, 7002, 7003


class Database:
    """SQLite (WAL) or PostgreSQL, over at most `connections` at once.

    A failed connection, or none that comes free in time, is raised as DEPENDENCY_UNAVAILABLE.
    """

    def __init__(self, url: URL, connections: int = _CONNECTIONS) -> None:
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.url = url
        self._reading = connect(url, connections)
        self._engine = writing(self._reading)
        self._held: IO[str] | Connection | None = None

    @contextmanager
    def change(self) -> Iterator[Session]:
        """A transaction that writes. It is committed on leaving, or rolled back if an exception leaves."""
        with answering(_unavailable), Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads, and sees one state of the database where that is cheap (SQLite)."""
        with answering(_unavailable), Session(self._reading) as session, session.begin():
            yield session

    def migrate(self) -> None:
        """Bring the tables to this version's shape; several replicas may try at once."""
        with answering(_unavailable):
            migrate(self._engine, Path(__file__).parent / "migrations", _MIGRATION_LOCK)

    def occupy(self, executor: str) -> None:
        """Be the only process on this SQLite database, or the only one of this name on PostgreSQL, until `close`.

        The operating system or the server ends the hold when the process dies. Raises FIELD_INVALID if another has
        it, DEPENDENCY_UNAVAILABLE.
        """
        if self.is_sqlite:
            self._held = _lock_file(Path(f"{self.url.database}.lock"))
            return
        with answering(_unavailable):
            self._held = self._lock_name(executor)

    @contextmanager
    def housekeeping(self) -> Iterator[bool]:
        """Whether this process is the one that keeps house now; the others get False until it leaves or dies."""
        if self.is_sqlite:
            yield True
            return
        with answering(_unavailable), self._engine.begin() as connection:
            statement = text("SELECT pg_try_advisory_xact_lock(:key)")
            yield bool(connection.execute(statement, {"key": _HOUSEKEEPING_LOCK}).scalar_one())

    def close(self) -> None:
        """Give everything back."""
        if self._held is not None:
            self._held.close()
            self._held = None
        self._engine.dispose()

    def _lock_name(self, executor: str) -> Connection:
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
        return connection


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


def _unavailable() -> AtlasError:
    return AtlasError(
        Reason.DEPENDENCY_UNAVAILABLE,
        "The scheduler's database does not answer.",
        field="database",
        remedy="Is it running, is there space on its disk, and can it keep up?",
    )

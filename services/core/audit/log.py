"""The audit log as a table: entries are appended one after another and never changed; the database refuses it too."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from services.core.audit.chain import Entry, Sealed, genesis, seal

_LOCK = 0x6174_6C61_75
_LONGEST = 256
"""Characters of a text that are kept: resources are what callers say they are."""
_TEXTS = [field.name for field in fields(Entry) if field.name != "time_us"]


def table(log: str) -> sa.Table:
    """The table of the log of that name, by itself: two services may share a database."""
    return sa.Table(
        f"{log}_audit_log",
        sa.MetaData(),
        sa.Column(
            "sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False
        ),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.String(_LONGEST), nullable=False) for name in _TEXTS),
        sa.Column("digest", sa.String(64), nullable=False),
    )


def create(connection: sa.Connection, log: str) -> None:
    """Make the table, as a step of a migration, and have the database refuse to change or delete an entry."""
    made = table(log)
    made.create(connection)
    for statement in _append_only(made.name, connection.dialect.name):
        connection.exec_driver_sql(statement)


def drop(connection: sa.Connection, log: str) -> None:
    """Take the table away again."""
    made = table(log)
    made.drop(connection)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"DROP FUNCTION {made.name}_append_only")


def _append_only(name: str, dialect: str) -> list[str]:
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER {name}_{word.lower()} BEFORE {word} ON {name} "
            "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
            for word in ("UPDATE", "DELETE")
        ]
    return [
        f"CREATE FUNCTION {name}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$",
        f"CREATE TRIGGER {name}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {name} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {name}_append_only()",
    ]


Transaction = Callable[[], AbstractContextManager[Session]]
"""Opens a transaction of a service's database; its failures are raised as `AtlasError`."""


class AuditLog:
    """The log `name` ("storage", "scheduler") of one database. Methods block; any process and thread may append."""

    def __init__(self, name: str, *, writing: Transaction, reading: Transaction) -> None:
        """On SQLite `writing` must hold the only writer's lock from its start on."""
        self.name, self._writing, self._reading = name, writing, reading
        self._table = table(name)

    def append(self, entry: Entry) -> Sealed:
        """Write an entry after the newest. Raises DEPENDENCY_UNAVAILABLE."""
        entry = Entry(**{name: _line(value) for name, value in asdict(entry).items()})
        columns = self._table.c
        with self._writing() as session:
            if session.get_bind().dialect.name == "postgresql":
                session.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            newest = session.execute(
                sa.select(columns.sequence, columns.digest).order_by(columns.sequence.desc()).limit(1)
            ).first()
            sequence, previous = (newest.sequence, newest.digest) if newest else (0, genesis(self.name))
            sealed = seal(previous, sequence + 1, entry)
            values = {"sequence": sealed.sequence, "digest": sealed.digest, **asdict(entry)}
            session.execute(sa.insert(self._table).values(values))
        return sealed

    def page(self, after: int, limit: int) -> Sequence[Sealed]:
        """Entries in order, after a sequence number."""
        place = self._table.c.sequence
        query = sa.select(self._table).where(place > after).order_by(place).limit(limit)
        with self._reading() as session:
            rows = session.execute(query).mappings().all()
        return [
            Sealed(row["sequence"], Entry(row["time_us"], **{name: row[name] for name in _TEXTS}), row["digest"])
            for row in rows
        ]


def _line(value: Any) -> Any:
    """A text as one line that both databases keep as it is."""
    if not isinstance(value, str):
        return value
    return "".join(c if c.isprintable() else "?" for c in value[:_LONGEST])

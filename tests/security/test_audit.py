"""The audit log: one chain, whoever appends; whatever is changed in it is found, and named."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from services.core.audit.chain import BrokenError, Entry, Sealed, genesis, seal, verified
from services.core.audit.log import AuditLog
from services.storage.catalog import database
from services.storage.catalog.catalog import Catalog
from tests.components.postgres import fresh_database, postgres

ENTRY = Entry(
    1_700_000_000_000_000, "id-1", "person", "ann", "", "operator", "10.0.0.7", "S/CreateVolume", "case", "OK"
)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Each database, with the schema of storage."""
    if request.param == "sqlite":
        made = f"sqlite:///{tmp_path}/catalog.db"
        database.upgrade(database.connect(made))
        yield made
        return
    with fresh_database(request.getfixturevalue("server")) as made:
        database.upgrade(database.connect(made))
        yield made


def opened(url: str) -> AuditLog:
    catalog = Catalog(database.connect(url))
    return AuditLog("storage", writing=catalog.writing, reading=catalog.reading)


def test_whoever_appends_at_once_makes_one_chain(url: str) -> None:
    """Three processes' worth of logs with two threads each; the chain is whole and holds all."""
    logs = [opened(url) for _ in range(3)]
    failures: list[Exception] = []

    def append(log: AuditLog, number: int) -> None:
        try:
            for step in range(10):
                log.append(replace(ENTRY, resource=f"case-{number}-{step}"))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=append, args=(logs[n % 3], n)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    found = list(verified("storage", logs[0].page(0, 1000)))
    assert [sealed.sequence for sealed in found] == list(range(1, 61))
    assert {sealed.entry.resource for sealed in found} == {f"case-{n}-{step}" for n in range(6) for step in range(10)}


def test_an_entry_comes_back_as_it_was_written(url: str) -> None:
    """Also one with letters of every kind; what no database keeps, and what is too long, is replaced and cut."""
    odd = replace(ENTRY, actor="Jürgen 王 🦴", resource="a\0b\nc" + "x" * 300, request_id="")
    log = opened(url)
    log.append(ENTRY)
    log.append(odd)
    first, second = verified("storage", log.page(0, 10))
    assert first.entry == ENTRY
    assert second.entry == replace(odd, resource="a?b?c" + "x" * 251)
    assert log.page(1, 10) == [second]


@pytest.mark.parametrize("statement", ["UPDATE storage_audit_log SET actor = 'bob'", "DELETE FROM storage_audit_log"])
def test_the_database_refuses_to_change_the_log(url: str, statement: str) -> None:
    log = opened(url)
    log.append(ENTRY)
    with pytest.raises(DatabaseError, match="append-only"), database.connect(url).begin() as connection:
        connection.execute(text(statement))
    assert len(log.page(0, 10)) == 1


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        ("UPDATE storage_audit_log SET actor = 'bob' WHERE sequence = 3", 3),
        ("UPDATE storage_audit_log SET time_us = time_us + 1 WHERE sequence = 2", 2),
        ("UPDATE storage_audit_log SET outcome = 'OK' WHERE sequence = 4", 4),
        ("DELETE FROM storage_audit_log WHERE sequence = 1", 1),
        ("DELETE FROM storage_audit_log WHERE sequence = 3", 3),
        ("UPDATE storage_audit_log SET sequence = 9 WHERE sequence = 2", 2),
    ],
)
def test_what_was_changed_behind_its_back_is_named(tmp_path: Path, tamper: str, named: int) -> None:
    """An administrator of the database takes the triggers away and changes an entry."""
    path = tmp_path / "catalog.db"
    database.upgrade(database.connect(f"sqlite:///{path}"))
    log = opened(f"sqlite:///{path}")
    for outcome in ("BEGUN", "OK", "BEGUN", "PERMISSION_DENIED", "BEGUN"):
        log.append(replace(ENTRY, outcome=outcome))
    with closing(sqlite3.connect(path)) as connection:
        for word in ("update", "delete"):
            connection.execute(f"DROP TRIGGER storage_audit_log_{word}")
        connection.execute(tamper)
        connection.commit()
    with pytest.raises(BrokenError) as caught:
        list(verified("storage", log.page(0, 100)))
    assert caught.value.sequence == named


def chain(*entries: Entry, log: str = "storage") -> list[Sealed]:
    made: list[Sealed] = []
    for entry in entries:
        made.append(seal(made[-1].digest if made else genesis(log), len(made) + 1, entry))
    return made


def test_a_digest_follows_from_every_word_of_an_entry() -> None:
    (sealed,) = chain(ENTRY)
    for name, value in vars(ENTRY).items():
        changed: dict[str, Any] = {name: value + 1 if isinstance(value, int) else value + "x"}
        other = replace(ENTRY, **changed)
        assert chain(other)[0].digest != sealed.digest


def test_one_log_does_not_pass_for_another() -> None:
    with pytest.raises(BrokenError):
        list(verified("scheduler", chain(ENTRY)))


def test_an_entry_slipped_in_is_found() -> None:
    whole = chain(ENTRY, replace(ENTRY, actor="bob"), ENTRY)
    slipped = seal(whole[0].digest, 2, replace(ENTRY, actor="mallory"))
    with pytest.raises(BrokenError) as caught:
        list(verified("storage", [whole[0], slipped, *whole[1:]]))
    assert caught.value.sequence == 3

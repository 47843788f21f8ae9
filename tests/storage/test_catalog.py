"""The catalog on both databases."""

import contextlib
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from services.core.errors import AtlasError, Reason
from services.storage.catalog import database, tables
from services.storage.catalog.catalog import Catalog

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, UTC)


def volume(id_: str, dataset: str = "", record: str = "{}") -> tables.Volume:
    return tables.Volume(
        id=id_,
        dataset=dataset,
        object_sha256="0" * 64,
        geometry_digest="1" * 64,
        voxel_digest="2" * 64,
        create_time=NOW,
        record=record,
    )


def labels(volume_id: str, id_: str, origin: int = 1) -> tables.LabelVersion:
    return tables.LabelVersion(
        volume_id=volume_id, id=id_, array_sha256="3" * 64, create_time=NOW, record=id_, origin=origin, author="x"
    )


def test_the_migrations_make_what_the_tables_say(engine: Engine) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.Base.metadata) == []


def test_upgrading_again_changes_nothing(engine: Engine, catalog: Catalog) -> None:
    catalog.add_all([volume("a")])
    database.upgrade(engine)
    assert catalog.volume("a").record == "{}"


def test_processes_that_start_together_upgrade_once(tmp_path: Path, postgres_url: str) -> None:
    for url in (f"sqlite:///{tmp_path}/fresh.db", postgres_url):
        engines = [database.connect(url) for _ in range(4)]
        failures: list[Exception] = []

        def upgrade(engine: Engine, failures: list[Exception] = failures) -> None:
            try:
                database.upgrade(engine)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=upgrade, args=(engine,)) for engine in engines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert "volumes" in inspect(engines[0]).get_table_names()
        for engine in engines:
            engine.dispose()


def test_the_first_row_of_an_id_stays(catalog: Catalog) -> None:
    assert catalog.add_all([volume("a", record="first")])
    assert not catalog.add_all([volume("a", record="second")])
    assert catalog.volume("a").record == "first"
    assert catalog.add(labels("a", "l"), "n").record == "l"
    again = labels("a", "l")
    again.record = "other"
    assert catalog.add(again, "n").record == "l"


def test_what_is_not_there_is_not_found(catalog: Catalog) -> None:
    for ask in (
        lambda: catalog.volume("a"),
        lambda: catalog.get(tables.LabelVersion, "a", "l", "volumes/a/labels/l"),
        lambda: catalog.add(labels("nowhere", "l"), "volumes/nowhere/labels/l"),
    ):
        with pytest.raises(AtlasError) as caught:
            ask()
        assert caught.value.reason == Reason.RESOURCE_NOT_FOUND
    assert catalog.find_volume("a") is None


def test_volumes_are_listed_by_id_byte_by_byte(catalog: Catalog) -> None:
    ids = ["b", "B", "a_1", "a-1", "a.1", "A", "10", "9"]
    for id_ in ids:
        catalog.add_all([volume(id_, dataset="odd" if id_ in ("b", "9") else "")])
    assert [row.id for row in catalog.volumes(dataset="", after="", limit=100)] == sorted(ids)
    assert [row.id for row in catalog.volumes(dataset="", after="A", limit=2)] == ["B", "a-1"]
    assert [row.id for row in catalog.volumes(dataset="odd", after="", limit=100)] == ["9", "b"]


def test_rows_of_a_volume_are_listed_in_the_order_of_their_coming(catalog: Catalog) -> None:
    catalog.add_all([volume("a")])
    catalog.add_all([volume("b")])
    for id_, of, origin in (("3", "a", 1), ("1", "b", 1), ("2", "a", 3), ("0", "a", 1)):
        catalog.add(labels(of, id_, origin), id_)
    rows = catalog.list(tables.LabelVersion, "a", after=0, limit=10)
    assert [row.id for row in rows] == ["3", "2", "0"]
    assert [row.id for row in catalog.list(tables.LabelVersion, "a", after=rows[0].sequence, limit=1)] == ["2"]
    assert [row.id for row in catalog.list(tables.LabelVersion, "a", after=0, limit=10, origin=3)] == ["2"]


def test_moments_keep_their_zone(catalog: Catalog) -> None:
    row = volume("a")
    row.create_time = NOW.astimezone(timezone(timedelta(hours=5)))
    catalog.add_all([row])
    stored = catalog.volume("a").create_time
    assert stored == NOW
    assert stored.utcoffset() == timedelta(0)


def test_many_writers_wait_for_one_another(catalog: Catalog) -> None:
    catalog.add_all([volume("a")])
    failures: list[Exception] = []

    def write(number: int) -> None:
        try:
            for step in range(10):
                catalog.add(labels("a", f"{number}-{step % 5}"), "x")
                catalog.add_all([volume(f"shared-{step}")])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(catalog.list(tables.LabelVersion, "a", after=0, limit=1000)) == 40


def test_sqlite_is_durable_and_checks_references(tmp_path: Path) -> None:
    engine = database.connect(f"sqlite:///{tmp_path}/deep/er/catalog.db")
    with engine.connect() as connection:
        settings = {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in _PRAGMAS}
    assert settings == _PRAGMAS


_PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_database_that_does_not_answer_is_told_without_its_password() -> None:
    engine = database.connect("postgresql+psycopg://atlas:secret-word@127.0.0.1:9/atlas")
    for ask in (lambda: database.upgrade(engine), lambda: Catalog(engine).volume("a")):
        with pytest.raises(AtlasError) as caught:
            ask()
        assert caught.value.reason == Reason.DEPENDENCY_UNAVAILABLE
        assert "secret-word" not in str(caught.value)


def test_a_pool_that_is_exhausted_is_a_passing_error(tmp_path: Path) -> None:
    """Both connections are taken for longer than a caller waits."""
    engine = database.connect(f"sqlite:///{tmp_path}/catalog.db", threads=2)
    database.upgrade(engine)
    engine.pool._timeout = 0.1  # type: ignore[attr-defined]
    with engine.connect(), engine.connect(), pytest.raises(AtlasError) as caught:
        Catalog(engine).volume("case")
    assert caught.value.reason == Reason.DEPENDENCY_UNAVAILABLE


@pytest.mark.parametrize("threads", [3, 25])
def test_every_thread_gets_a_connection_at_once(tmp_path: Path, threads: int) -> None:
    engine = database.connect(f"sqlite:///{tmp_path}/catalog.db", threads=threads)
    engine.pool._timeout = 0.1  # type: ignore[attr-defined]
    with contextlib.ExitStack() as stack:
        for _ in range(threads):
            stack.enter_context(engine.connect())
        with pytest.raises(PoolTimeoutError):
            engine.connect()

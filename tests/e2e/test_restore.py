"""What docs/operate.md says about backups, word for word, on a real PostgreSQL: back to before an upgrade, and on."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import make_url, text

from services.core import database as core
from services.scheduler.database import Database
from services.storage.catalog import database as catalog
from tests.components import postgres

ROOT = Path(__file__).parents[2]
MIGRATIONS = {
    "atlas_catalog": ROOT / "services/storage/catalog/migrations",
    "atlas_scheduler": ROOT / "services/scheduler/migrations",
}
BEFORE = "0004"
"""The revision that both databases have when they are backed up; each has later ones."""
MARK = "A note of before the upgrade."


def documented(*programs: str) -> str:
    """The lines of the section that begin with one of these programs."""
    section = (ROOT / "docs/operate.md").read_text().split("## Backup and restore")[1].split("\n## ")[0]
    return "\n".join(line for line in section.splitlines() if line.split(" ")[0] in programs)


@pytest.fixture
def server() -> Iterator[str]:
    """A server of the test's own, with users and databases as docs/install.md says."""
    with postgres.postgres() as url, psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for name in MIGRATIONS:
            connection.execute(f"CREATE ROLE {name} LOGIN".encode())
            connection.execute(f"CREATE DATABASE {name} OWNER {name}".encode())
        yield url


def database_url(server: str, name: str) -> str:
    url = make_url(server).set(username=name, database=name)
    return url.render_as_string(hide_password=False)


def migrate(server: str, name: str) -> None:
    url = database_url(server, name)
    if name == "atlas_catalog":
        engine = catalog.connect(url)
        catalog.upgrade(engine)
        engine.dispose()
    else:
        database = Database(make_url(url))
        database.migrate()
        database.close()


def tables(server: str, name: str) -> set[tuple[str, str]]:
    """Each table with its owner."""
    with psycopg.connect(database_url(server, name).replace("+psycopg", "")) as connection:
        rows = connection.execute("SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public'")
        return {(table, owner) for table, owner in rows.fetchall()}


def run(server: str, script: str, folder: Path) -> None:
    url = make_url(server)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join((str(postgres.programs()), os.environ["PATH"])),
        "PGHOST": str(url.query["host"]),
        "PGUSER": str(url.username),
    }
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_documented_restore_goes_back_to_before_an_upgrade(server: str, tmp_path: Path) -> None:
    """What the upgrade made is gone, what was there is there, its owner's; and the upgrade can be made again."""
    old = {}
    for name, scripts in MIGRATIONS.items():
        engine = core.writing(core.connect(make_url(database_url(server, name)), 2))
        config = Config()
        config.set_main_option("script_location", str(scripts))
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, BEFORE)
            connection.execute(text("CREATE TABLE marks (mark text)"))
            connection.execute(text("INSERT INTO marks VALUES (:mark)"), {"mark": MARK})
        engine.dispose()
        old[name] = tables(server, name)

    run(server, documented("pg_dump"), tmp_path)
    for name in MIGRATIONS:
        migrate(server, name)
    run(server, documented("dropdb", "createdb", "pg_restore"), tmp_path)

    for name in MIGRATIONS:
        assert tables(server, name) == old[name]
        with psycopg.connect(database_url(server, name).replace("+psycopg", "")) as connection:
            assert connection.execute("SELECT mark FROM marks").fetchall() == [(MARK,)]
        migrate(server, name)

"""How many connections to PostgreSQL a scheduler opens, which its administrator must leave room for."""

import re
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from services.scheduler.settings import WORKFLOW_CONNECTIONS, Settings
from tests.components.processes import wait_until
from tests.scheduler.running import Scheduler
from tests.scheduler.world import Server, World

VOLUMES = [f"v{number:02}" for number in range(60)]
CONCURRENCY = 16
ENGINE = "dbos_transact"


@pytest.fixture
def world() -> World:
    return World(sources=dict.fromkeys(VOLUMES, ()), predict_seconds=0.05)


def test_no_more_are_opened_than_the_settings_say(
    postgres_url: str, world: World, workers: Server, tmp_path: Path
) -> None:
    """Even while the workflow engine's tables stand still, and each of its threads wants one."""
    settings = Settings(concurrency=CONCURRENCY)
    plain = postgres_url.replace("+psycopg", "")
    with (
        Scheduler(postgres_url, workers.address, tmp_path, concurrency=CONCURRENCY) as scheduler,
        psycopg.connect(plain, autocommit=True) as looking,
        psycopg.connect(plain) as holding,
    ):
        scheduler.create("c1", VOLUMES, review_share=0.0)
        wait_until(lambda: sum(world.calls.values()) > CONCURRENCY, "the first volumes", 60)
        holding.execute("LOCK TABLE dbos.workflow_status, dbos.operation_outputs IN ACCESS EXCLUSIVE MODE")
        wait_until(lambda: _open(looking, ENGINE) > WORKFLOW_CONNECTIONS, "the engine's connections", 60)
        time.sleep(2)  # for those that would be one too many
        assert _open(looking, ENGINE) <= WORKFLOW_CONNECTIONS + 1
        assert _open(looking, "") <= settings.connections + 2, "ours, and the two of this test"
        holding.rollback()
        scheduler.rest("c1")
        assert scheduler.campaign("c1").ready_count == len(VOLUMES)


def test_the_figure_that_people_plan_with_is_that_of_the_settings() -> None:
    description = Settings.model_fields["database_url"].description or ""
    (told,) = re.findall(r"opens at most (\d+) connections and two for", " ".join(description.split()))
    for concurrency in (1, CONCURRENCY):
        most = Settings(concurrency=concurrency).connections + WORKFLOW_CONNECTIONS + 1
        assert most == int(told) + 2 * concurrency


def _open(looking: "psycopg.Connection[Any]", name: str) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
    row = looking.execute(query, (name,)).fetchone()
    assert row
    return int(row[0])

"""The loop beside the calls, and the sign of life beside the loop."""

import time
from pathlib import Path

from sqlalchemy import make_url

from services.scheduler import clock, executors
from services.scheduler.database import Database
from services.scheduler.executors import SignOfLife
from services.scheduler.settings import Settings
from tests.components.processes import wait_until


def test_a_process_tells_that_it_lives_until_it_stops(tmp_path: Path) -> None:
    """Its executor is silent for whoever asks later, and not for whoever asks in between."""
    database = Database(make_url(f"sqlite:///{tmp_path}/scheduler.db"))
    database.migrate()
    sign = SignOfLife(Settings(executor_id="one", sweep_seconds=0.05), database, clock.now)

    def silent(since: int) -> list[str]:
        with database.read() as session:
            return executors.silent(session, since)

    sign.start()
    begun = clock.now()
    wait_until(lambda: silent(begun) == [], "another sign", 10)
    sign.stop()
    ended = clock.now()
    time.sleep(0.2)
    assert silent(ended) == ["one"]
    with database.change() as session:
        executors.forget(session, ["one"])
        assert executors.count(session) == 0
    database.close()

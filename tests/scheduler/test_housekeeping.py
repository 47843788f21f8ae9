"""The loop beside the calls, and the sign of life beside the loop."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from sqlalchemy import make_url

from services.scheduler import clock, executors
from services.scheduler.database import Database
from services.scheduler.executors import SignOfLife
from services.scheduler.housekeeping import Housekeeper
from services.scheduler.items import Work
from services.scheduler.settings import Settings
from services.scheduler.workflows import Astray, Workflows
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
    wait_until(lambda: silent(begun) == [], "another sign", 60)
    sign.stop()
    ended = clock.now()
    time.sleep(0.2)
    assert silent(ended) == ["one"]
    with database.change() as session:
        executors.forget(session, ["one"])
        assert executors.count(session) == 0
    database.close()


def test_a_sweep_that_hangs_does_not_make_a_living_process_look_dead(tmp_path: Path) -> None:
    """A database that answers late, or much work to see after, holds up the loop and not the sign of life."""
    database = Database(make_url(f"sqlite:///{tmp_path}/scheduler.db"))
    database.migrate()
    settings = Settings(executor_id="one", poll_seconds=0.05, sweep_seconds=0.05)
    hangs, go_on = threading.Event(), threading.Event()

    def hang(_works: object) -> Astray[Work]:
        hangs.set()
        go_on.wait(20)
        return Astray([], [])

    workflows = cast(
        Workflows, SimpleNamespace(astray_volumes=hang, astray_decisions=lambda _: Astray([], []), forget=lambda _: 0)
    )
    housekeeper, sign = Housekeeper(settings, database, workflows, clock.now), SignOfLife(settings, database, clock.now)
    sign.start()
    housekeeper.start()
    assert hangs.wait(10)
    hung = clock.now()

    def alive() -> bool:
        with database.read() as session:
            return executors.silent(session, hung) == []

    wait_until(alive, "a sign while the sweep hangs", 60)
    go_on.set()
    housekeeper.stop()
    sign.stop()
    database.close()

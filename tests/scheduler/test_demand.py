"""What GPU pods come and go with."""

from services.scheduler import demand
from services.scheduler.database import Database
from services.scheduler.executors import SignOfLife
from services.scheduler.reviews import MINUTE
from services.scheduler.settings import Settings
from tests.scheduler.rounds_of import Campaign, volumes

NOW = 1_000_000 * MINUTE


def test_a_refused_campaign_counts_as_work_until_one_is_taken_or_half_an_hour_is_over(database: Database) -> None:
    SignOfLife(Settings(executor_id="one"), database, lambda: NOW)._give()

    def backlog(minutes: int) -> int:
        with database.read() as session:
            return demand.backlog(session, NOW + minutes * MINUTE)

    assert backlog(0) == 0
    with database.change() as session:
        demand.ask(session, "one", NOW)
    SignOfLife(Settings(executor_id="one"), database, lambda: NOW)._give()
    assert [backlog(minutes) for minutes in (0, 29, 30)] == [1, 1, 0]
    with database.change() as session:
        demand.met(session)
    assert backlog(0) == 0


def test_every_volume_that_is_not_done_is_work(database: Database) -> None:
    campaign = Campaign(database, volumes(3))
    with database.read() as session:
        assert demand.backlog(session, NOW) == 3
    campaign.score()
    with database.read() as session:
        assert demand.backlog(session, NOW) == 0

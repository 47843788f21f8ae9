"""Campaigns from before a migration go on after it, on both databases."""

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import make_url, text

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from services import scheduler
from services.core.database import connect, writing
from services.scheduler import desk, journal, messages, reports
from services.scheduler.database import Database
from services.scheduler.desk import Key, Revision
from services.scheduler.reviews import MINUTE, Decision

CAMPAIGN = {
    "id": "c",
    "state": 2,
    "round": 1,
    "models": "[]",
    "organs": "[]",
    "spacing_mm": 1.5,
    "class_map": "abdomenatlas-1.0",
    "profile": "parity",
    "review_share": 0.05,
    "volume_count": 1,
    "ready_count": 1,
    "failed_count": 0,
    "open_review_count": 1,
    "version": 7,
    "last_sequence": 0,
    "fingerprint": "f",
    "trace_id": "t",
    "create_time": 1,
    "update_time": 1,
}
ITEM = {
    "campaign": "c",
    "volume": "v",
    "state": 3,
    "round": 1,
    "age": 1,
    "predictions": "[]",
    "attention_map": "volumes/v/attentionMaps/a",
    "label_version": "volumes/v/labels/m",
    "source_organs": "[]",
    "organs": '["liver"]',
    "priority": 5,
    "rank": 1,
    "error": "",
}
REVIEW = {
    "campaign": "c",
    "id": "r1-1",
    "volume": "v",
    "round": 1,
    "rank": 1,
    "priority": 5,
    "attention_map": "volumes/v/attentionMaps/a",
    "label_version": "volumes/v/labels/m",
    "organs": '["liver"]',
    "predictions": "[]",
    "state": 2,
    "reviewer": "ann",
    "token": 1,
    "lease_expires": 60 * MINUTE,
    "decision": 0,
    "revision": "",
    "result": "",
    "side_versions": "[]",
    "version": 1,
    "trace_id": "",
    "create_time": 1,
}


@pytest.fixture
def old(database_url: str) -> str:
    """Return the URL of a database of the first version, with a review that somebody holds."""
    url = make_url(database_url)
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = writing(connect(url, 2))
    config = Config()
    config.set_main_option("script_location", str(Path(scheduler.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for table, row in (("campaign", CAMPAIGN), ("item", ITEM), ("review", REVIEW)):
            queued = {} if table == "campaign" else {"queued": False}
            names = ", ".join(row | queued)
            values = ", ".join(f":{name}" for name in row | queued)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row | queued)
    engine.dispose()
    return str(url.render_as_string(hide_password=False))


def test_a_review_from_before_is_decided_and_reported(old: str) -> None:
    """Nobody knows when the holder of before came; so his time counts from the next sign on."""
    database = Database(make_url(old))
    database.migrate()
    with database.change() as session:
        desk.renew(session, Key("c", "r1-1"), 1, 60 * MINUTE, 30 * MINUTE)
    with database.change() as session:
        row = desk.submit(session, Key("c", "r1-1"), 1, Decision.ACCEPTED, Revision(), 40 * MINUTE, "t")
        assert not isinstance(row, Exception)
        assert messages.review(row, 40 * MINUTE).active_time.seconds == 600
        campaign = messages.campaign(journal.find(session, "c"))
        assert (campaign.strategy, campaign.control_share) == (pb.Campaign.STRATEGY_PRIORITY, 0.1)
        assert campaign.state == pb.Campaign.STATE_ROUND_DONE
        (arm,) = reports.report(session, journal.find(session, "c")).arms
        assert (arm.arm, arm.done_count) == (pb.Review.ARM_STRATEGY, 1)
    database.close()

"""Whoever changes a campaign stands in its history."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from services.core.access import identity
from services.core.access.identity import ANYONE, Identity, Role
from services.scheduler import journal
from services.scheduler.campaign_calls import CampaignCalls
from services.scheduler.campaigns import Kind
from services.scheduler.database import Database
from services.scheduler.settings import Settings
from services.scheduler.workers import Workers
from tests.scheduler.rounds_of import Campaign, volumes


@pytest.mark.parametrize(("caller", "actor"), [(Identity("opal", Role.OPERATOR), "opal"), (ANYONE, "")])
def test_calls_that_change_a_campaign_name_the_caller(tmp_path: Path, caller: Identity, actor: str) -> None:
    database = Database(make_url(f"sqlite:///{tmp_path}/scheduler.db"))
    database.migrate()
    campaign = Campaign(database, volumes(3), review_share=0.0)
    campaign.score()
    calls = CampaignCalls(database, Workers(Settings()), lambda: campaign.now, lambda: None, "one")
    with identity.bound(caller):
        calls.start_round(pb.StartRoundRequest(name="campaigns/c"))
        campaign.score()
        calls.start_audit(pb.StartAuditRequest(name="campaigns/c"))
        calls.cancel(pb.CancelCampaignRequest(name="campaigns/c"))
    with database.read() as session:
        told = {Kind(event.kind).name: event.actor for event in journal.after(session, "c", 0, 100)}
    assert told == {
        "ROUND_STARTED": actor,
        "MERGED": "",
        "RANKED": "",
        "ROUND_DONE": "",
        "AUDIT_STARTED": actor,
        "CANCELLED": actor,
    }
    database.close()

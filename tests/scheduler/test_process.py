"""A scheduler process of its own for each test: what it shows, refuses, stops and lists."""

import time
import urllib.request
from pathlib import Path

import pytest
from sqlalchemy import make_url

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.scheduler import clock, demand
from services.scheduler.database import Database
from tests.components.processes import wait_until
from tests.scheduler.running import Scheduler
from tests.scheduler.world import MODELS, Server, World, model

Kind = pb.CampaignEvent


def test_cancelling_withdraws_and_starts_nothing_new(scheduler: Scheduler, world: World) -> None:
    world.predict_seconds = 0.5
    scheduler.create("c1", ["a", "b", "c"])
    cancelled = scheduler.rpc.CancelCampaign(pb.CancelCampaignRequest(name="campaigns/c1")).campaign
    assert cancelled.state == pb.Campaign.STATE_CANCELLED
    assert scheduler.rest("c1")[-1].kind == Kind.KIND_CANCELLED
    assert all("cancelled" in item.error for item in scheduler.items("c1").values())
    assert not world.calls["merge", "a"]
    again = scheduler.rpc.CancelCampaign(pb.CancelCampaignRequest(name="campaigns/c1")).campaign
    assert again == cancelled


def test_gauges_are_exported(scheduler: Scheduler, world: World) -> None:
    world.faults["score", "b"] = [AtlasError(Reason.ARRAY_FILE_CORRUPT, "Damaged.", field="predictions")]
    scheduler.create("c1", ["a", "b"], review_share=1.0)
    scheduler.rest("c1")
    wait_until(lambda: "atlas_scheduler_open_reviews 1.0" in _metrics(scheduler), "the gauges", 60)
    text = _metrics(scheduler)
    assert "atlas_scheduler_backlog_volumes 0.0" in text
    assert "atlas_scheduler_in_flight 0.0" in text
    assert "atlas_scheduler_oldest_open_review_seconds" in text
    assert 'atlas_scheduler_volumes{state="ready"} 1.0' in text
    assert 'atlas_scheduler_volumes{state="failed"} 1.0' in text
    assert 'atlas_scheduler_reviews{state="open"} 1.0' in text
    assert 'atlas_scheduler_step_failures_total{reason="ARRAY_FILE_CORRUPT",step="score"} 1.0' in text


def test_a_round_that_is_refused_for_want_of_a_network_counts_as_work_until_it_is_taken(
    scheduler: Scheduler, world: World
) -> None:
    """Perhaps there is no GPU pod because there was no work: one has to come, and to go again."""
    scheduler.create("c1", ["a"], review_share=0.0)
    scheduler.rest("c1")
    _await_backlog(scheduler, 0)
    world.models = [model(name, ready=False) for name in MODELS]
    request = pb.StartRoundRequest(name="campaigns/c1", models=MODELS)
    with pytest.raises(AtlasError) as refused:
        scheduler.rpc.StartRound(request)
    assert refused.value.reason == Reason.MODEL_NOT_READY
    _await_backlog(scheduler, 1)
    world.models = [model(name) for name in MODELS]
    scheduler.rpc.StartRound(request)
    scheduler.rest("c1")
    _await_backlog(scheduler, 0)


def test_a_round_that_cannot_begin_or_has_begun_asks_for_no_network_and_takes_none_back(
    scheduler: Scheduler, world: World, tmp_path: Path
) -> None:
    tables = Database(make_url(f"sqlite:///{tmp_path}/scheduler.db"))

    def backlog() -> int:
        with tables.read() as session:
            return demand.backlog(session, clock.now())

    def refused(name: str, number: int = 0) -> Reason:
        with pytest.raises(AtlasError) as found:
            scheduler.rpc.StartRound(pb.StartRoundRequest(name=f"campaigns/{name}", round=number, models=MODELS))
        return found.value.reason

    for name, share in (("c1", 0.0), ("open", 1.0)):
        scheduler.create(name, ["a"], review_share=share)
        scheduler.rest(name)
    second = pb.StartRoundRequest(name="campaigns/c1", round=2, models=MODELS)
    scheduler.rpc.StartRound(second)
    scheduler.rest("c1")
    world.models = [model(name, ready=False) for name in MODELS]
    assert refused("nowhere") == Reason.RESOURCE_NOT_FOUND
    assert refused("open") == Reason.CAMPAIGN_STATE
    assert refused("c1", 4) == Reason.FIELD_INVALID
    assert scheduler.rpc.StartRound(second).campaign.round == 2
    assert backlog() == 0

    assert refused("c1", 3) == Reason.MODEL_NOT_READY
    assert backlog() == 1
    world.models = [model(name) for name in MODELS]
    assert scheduler.rpc.StartRound(second).campaign.round == 2
    assert backlog() == 1
    tables.close()


def _await_backlog(scheduler: Scheduler, volumes: int) -> None:
    told = f"atlas_scheduler_backlog_volumes {volumes}.0"
    wait_until(lambda: told in _metrics(scheduler), f"a backlog of {volumes}", 20)


def _metrics(scheduler: Scheduler) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{scheduler.metrics_port}/metrics") as response:
        return str(response.read().decode())


def test_a_second_process_on_sqlite_is_refused(scheduler: Scheduler, workers: Server, tmp_path: Path) -> None:
    second = Scheduler(f"sqlite:///{tmp_path}/scheduler.db", workers.address, tmp_path, executor="two")
    with pytest.raises(AssertionError, match="Another scheduler runs on this SQLite database"):
        second.start()
    assert second.process.wait(10) == 1


def test_a_scheduler_without_its_database_ends_with_the_reason(workers: Server, tmp_path: Path) -> None:
    alone = Scheduler("postgresql://atlas:secret-word@127.0.0.1:9/atlas", workers.address, tmp_path)
    with pytest.raises(AssertionError, match="The scheduler's database does not answer"):
        alone.start()
    assert alone.process.wait(10) == 1
    assert "secret-word" not in alone.log.read_text()
    assert "Traceback" not in alone.log.read_text()


def test_it_stops_at_once_in_the_middle_of_work_and_takes_it_up_again(scheduler: Scheduler, world: World) -> None:
    world.predict_seconds = 60
    scheduler.create("c1", ["a", "b"], review_share=0.0)
    wait_until(lambda: world.calls["predict", "a", MODELS[0]] > 0, "the first prediction", 60)
    begun = time.monotonic()
    assert scheduler.stop() == 0
    assert time.monotonic() - begun < 10
    world.predict_seconds = 0
    scheduler.start()
    scheduler.rest("c1")
    assert scheduler.campaign("c1").ready_count == 2


def test_lists_come_page_by_page(scheduler: Scheduler) -> None:
    scheduler.create("c1", ["a"], review_share=1.0)
    scheduler.rest("c1")
    scheduler.create("c2", ["a", "b", "c"], review_share=1.0)
    scheduler.rest("c2")
    names: list[str] = []
    request = pb.ListReviewsRequest(parent="campaigns/-", page_size=1)
    while True:
        page = scheduler.rpc.ListReviews(request)
        names += [review.name for review in page.reviews]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert names == ["campaigns/c1/reviews/r1-1", *(f"campaigns/c2/reviews/r1-{rank}" for rank in (1, 2, 3))]
    listed = scheduler.rpc.ListCampaigns(pb.ListCampaignsRequest(page_size=1))
    assert [campaign.name for campaign in listed.campaigns] == ["campaigns/c2"]
    listed = scheduler.rpc.ListCampaigns(pb.ListCampaignsRequest(page_token=listed.next_page_token))
    assert [campaign.name for campaign in listed.campaigns] == ["campaigns/c1"]
    items = scheduler.rpc.ListItems(pb.ListItemsRequest(parent="campaigns/c2", page_size=2))
    assert [item.rank for item in items.items] == [1, 2]
    with pytest.raises(AtlasError) as refused:
        scheduler.rpc.ListItems(pb.ListItemsRequest(parent="campaigns/c1", page_token=items.next_page_token))
    assert refused.value.reason == Reason.PAGE_TOKEN_INVALID

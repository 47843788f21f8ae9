"""What survives the death of the scheduler: everything that was committed, once."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from abdomenatlas.type.v1.merge_pb2 import MergePolicy
from services.core.errors import AtlasError, Reason
from tests.components.processes import wait_until
from tests.scheduler.running import Scheduler
from tests.scheduler.world import MODELS, Server, World

VOLUMES = [f"v{number:02}" for number in range(30)]
CONCURRENCY = 4


@pytest.fixture
def world() -> World:
    return World(sources=dict.fromkeys(VOLUMES, ()), predict_seconds=0.05)


def test_a_killed_scheduler_goes_on_where_it_was(
    database_url: str, world: World, workers: Server, tmp_path: Path
) -> None:
    """30 volumes, killed twice in the middle: all are done, and only the steps in flight ran twice."""
    scheduler = Scheduler(database_url, workers.address, tmp_path, concurrency=CONCURRENCY)
    with scheduler:
        policy = MergePolicy(overwrite=MergePolicy.OVERWRITE_CLEAR, fusion=MergePolicy.FUSION_MAJORITY)
        scheduler.create("c1", VOLUMES, review_share=0.1, merge_policy=policy)
        for done in (5, 15):
            wait_until(lambda done=done: _calls(world, "merge") >= done, f"merge {done}", 60)  # type: ignore[misc]
            scheduler.kill()
            scheduler.start()
        events = scheduler.rest("c1")
        campaign, items = scheduler.campaign("c1"), scheduler.items("c1")

    assert (campaign.ready_count, campaign.failed_count, campaign.open_review_count) == (30, 0, 3)
    assert (campaign.merge_policy.overwrite, campaign.merge_policy.fusion) == (policy.overwrite, policy.fusion)
    assert all(used == campaign.merge_policy for used in world.policies)
    assert {item.state for item in items.values()} == {pb.CampaignItem.STATE_READY}
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    kinds = [event.kind for event in events]
    assert [kinds.count(kind) for kind in (pb.CampaignEvent.KIND_PREDICTED, pb.CampaignEvent.KIND_MERGED)] == [60, 30]
    assert kinds.count(pb.CampaignEvent.KIND_RANKED) == 1
    repeated = sum(world.calls.values()) - len(world.calls)
    assert repeated <= 2 * CONCURRENCY
    assert len(world.calls) == 30 * (1 + len(MODELS) + 1 + 1)
    assert scheduler.lines("giving unknown work again") == [], "the engine remembers across kills"


def test_services_that_are_down_for_a_while_are_waited_for(world: World, workers: Server, tmp_path: Path) -> None:
    # A server that is torn down may leave a call open without a word: silence counts as being away too.
    database = f"sqlite:///{tmp_path}/scheduler.db"
    with Scheduler(database, workers.address, tmp_path, silent_seconds=3) as scheduler:
        scheduler.create("c1", VOLUMES[:8], review_share=0.0)
        wait_until(lambda: _calls(world, "merge") >= 2, "a merge", 60)
        workers.stop()
        time.sleep(2)
        workers.start()
        scheduler.rest("c1")
        assert scheduler.campaign("c1").ready_count == 8


def test_a_worker_that_falls_silent_is_asked_again(world: World, workers: Server, tmp_path: Path) -> None:
    """Its deadline is an hour away; the volume fails with a reason when it stays silent."""
    world.predict_seconds = 20
    database = f"sqlite:///{tmp_path}/scheduler.db"
    with Scheduler(database, workers.address, tmp_path, silent_seconds=1, retry_seconds=2) as scheduler:
        scheduler.create("c1", VOLUMES[:1], review_share=0.0)
        scheduler.rest("c1")
        (item,) = scheduler.items("c1").values()
    assert "DEPENDENCY_UNAVAILABLE" in item.error
    assert _calls(world, "predict") >= 2


def test_services_that_stay_down_fail_the_volume_in_the_end(world: World, workers: Server, tmp_path: Path) -> None:
    world.faults["merge", "v01"] = [AtlasError(Reason.DEPENDENCY_UNAVAILABLE, "down")] * 50
    with Scheduler(f"sqlite:///{tmp_path}/scheduler.db", workers.address, tmp_path, retry_seconds=2) as scheduler:
        scheduler.create("c1", VOLUMES[:3], review_share=0.0)
        scheduler.rest("c1")
        items = scheduler.items("c1")
    assert [name for name, item in items.items() if item.state == pb.CampaignItem.STATE_FAILED] == ["v01"]
    assert "DEPENDENCY_UNAVAILABLE" in items["v01"].error


def test_another_replica_takes_over_from_a_dead_one(
    postgres_url: str, world: World, workers: Server, tmp_path: Path
) -> None:
    """Two replicas on PostgreSQL; one is killed for good, the other finishes both shares."""
    world.predict_seconds = 0.3
    first = Scheduler(postgres_url, workers.address, tmp_path, executor="one", concurrency=CONCURRENCY)
    second = Scheduler(postgres_url, workers.address, tmp_path, executor="two", concurrency=CONCURRENCY)
    with first, second:
        second.create("c1", VOLUMES, review_share=0.0)
        wait_until(lambda: _calls(world, "merge") >= 5, "merges", 60)
        first.kill()
        second.rest("c1")
        assert second.campaign("c1").ready_count == 30
        assert second.lines("taking over from dead executors")[0]["executors"] == ["one"]
    assert sum(world.calls.values()) - len(world.calls) <= CONCURRENCY


def test_work_under_an_old_name_is_taken_up_on_sqlite_too(world: World, workers: Server, tmp_path: Path) -> None:
    world.predict_seconds = 60
    url = f"sqlite:///{tmp_path}/scheduler.db"
    with Scheduler(url, workers.address, tmp_path, executor="old") as scheduler:
        scheduler.create("c1", VOLUMES[:2], review_share=0.0)
        wait_until(lambda: _calls(world, "predict") == 2, "predictions", 60)
        scheduler.kill()
    world.predict_seconds = 0
    with Scheduler(url, workers.address, tmp_path, executor="new") as scheduler:
        scheduler.rest("c1")
        assert scheduler.campaign("c1").ready_count == 2


def test_work_that_the_workflow_engine_lost_is_given_to_it_again(world: World, workers: Server, tmp_path: Path) -> None:
    """Its file is deleted, or older than ours after a restore: no volume stays in hand for ever."""
    url = f"sqlite:///{tmp_path}/scheduler.db"
    with Scheduler(url, workers.address, tmp_path) as scheduler:
        world.predict_seconds = 60
        scheduler.create("c1", VOLUMES[:2], review_share=0.0)
        wait_until(lambda: _calls(world, "predict") == 2, "predictions", 60)
        scheduler.kill()
    for file in tmp_path.glob("scheduler.db-workflows*"):
        file.unlink()
    world.predict_seconds = 0
    with Scheduler(url, workers.address, tmp_path) as scheduler:
        scheduler.rest("c1")
        assert scheduler.campaign("c1").ready_count == 2
        assert scheduler.lines("giving unknown work again")[0]["volumes"] == 2


def test_finished_work_is_forgotten_by_the_workflow_engine(world: World, workers: Server, tmp_path: Path) -> None:
    """The campaign stays."""
    url = f"sqlite:///{tmp_path}/scheduler.db"
    with Scheduler(url, workers.address, tmp_path) as scheduler:
        scheduler.create("c1", VOLUMES[:2], review_share=0.0)
        scheduler.rest("c1")
        assert _remembered(tmp_path) == 2
    with Scheduler(url, workers.address, tmp_path, retention_days=1e-9) as scheduler:
        wait_until(lambda: _remembered(tmp_path) == 0, "forgetting", 60)
        assert scheduler.campaign("c1").ready_count == 2


def _remembered(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "scheduler.db-workflows")) as connection:
        return int(connection.execute("SELECT count(*) FROM workflow_status").fetchone()[0])


def test_two_replicas_of_one_name_are_refused(postgres_url: str, workers: Server, tmp_path: Path) -> None:
    with Scheduler(postgres_url, workers.address, tmp_path):
        twin = Scheduler(postgres_url, workers.address, tmp_path / "twin-of")
        twin.log = tmp_path / "twin.log"
        with pytest.raises(AssertionError, match="Another scheduler runs as executor 'one'"):
            twin.start()


def _calls(world: World, method: str) -> int:
    return sum(count for key, count in world.calls.items() if key[0] == method)

"""The work on one volume, and on one decision, step by step, without the workflow engine."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from abdomenatlas.storage.v1 import storage_pb2
from services.scheduler import clock, desk, rounds
from services.scheduler.campaigns import ItemState
from services.scheduler.database import Database
from services.scheduler.decisions import Submission
from services.scheduler.desk import Key, Revision
from services.scheduler.ensembles import Ensemble
from services.scheduler.items import Work
from services.scheduler.pipeline import Pipeline
from services.scheduler.retry import Patience
from services.scheduler.reviews import MINUTE, Decision
from services.scheduler.rounds import Acquisition, Plan
from services.scheduler.settings import Settings
from services.scheduler.tables import Item
from services.scheduler.workers import Workers
from tests.scheduler.rounds_of import ENSEMBLE, Campaign
from tests.scheduler.world import CLASS_MAP, MODELS, ORGANS, Server, World


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Database]:
    """Yield a database without a campaign."""
    database = Database(make_url(f"sqlite:///{tmp_path}/scheduler.db"))
    database.migrate()
    yield database
    database.close()


def run(_name: str, action: Callable[[], Any]) -> Any:
    return action()


@pytest.fixture
def pipeline(tables: Database, workers: Server) -> Pipeline:
    """Return the steps, on the tables and the services of the world."""
    address = workers.address
    settings = Settings(storage=address, inference=address, uncertainty=address, merging=address)
    return Pipeline(tables, Workers(settings), Patience(0), clock.now)


@pytest.fixture
def work_on(tables: Database, pipeline: Pipeline) -> Callable[[str], tuple[int, str]]:
    """Return what works on a volume of a campaign over "a", whose source labelled nothing, and "b".

    It gives back the volume's state and error.
    """
    ensemble = Ensemble(MODELS, ORGANS, 1.5, CLASS_MAP)
    with tables.change() as session:
        rounds.create(
            session,
            Plan("c", ("a", "b"), ensemble, "parity", Acquisition(review_share=0.0), "", "f" * 64, "t"),
            clock.now(),
        )

    def work(volume: str) -> tuple[int, str]:
        pipeline.volume(run, Work("c", 1, volume))
        with tables.read() as session:
            item = session.get_one(Item, ("c", volume))
            return item.state, item.error

    return work


@pytest.fixture
def decide(tables: Database, pipeline: Pipeline, world: World) -> Callable[[Campaign, str], tuple[str, ...]]:
    """Return what revises the open review of a campaign and gives back the label versions that were merged."""

    def work(campaign: Campaign, revision: str) -> tuple[str, ...]:
        (review,) = campaign.open()
        key = Key(campaign.name, review.id)
        with tables.change() as session:
            token = desk.claim(session, key, "ann", MINUTE, clock.now()).token
            decided = (Decision.REVISED, Revision(revision, "ann"))
            desk.submit(session, key, token, *decided, clock.now(), "t")
        pipeline.decision(run, Submission(key, token))
        with tables.read() as session:
            merged: tuple[str, ...] = world.made[desk.find(session, key).result][1]
        return merged

    return work


def in_review(tables: Database, world: World, name: str, **policies: Any) -> Campaign:
    """A campaign whose only volume, "a", waits for a review."""
    campaign = Campaign(tables, {"a": 1}, name=name, review_share=1.0, policies=policies)
    campaign.score()
    world.made["p"] = MODELS[0]
    return campaign


def test_labels_of_another_class_map_fail_a_volume_before_a_prediction_is_paid_for(
    world: World, work_on: Callable[[str], tuple[int, str]]
) -> None:
    (label,) = world.labels.values()
    label.class_map = "other-1"
    state, error = work_on("b")
    assert state == ItemState.FAILED
    assert error.startswith(f"plan: CLASS_MAP_MISMATCH: volume: {label.name} speaks of other-1")
    assert f"Import its labels by {CLASS_MAP} too" in error
    assert not any(world.calls["predict", "b", model] for model in MODELS)
    assert work_on("a") == (ItemState.READY, "")


def test_a_revision_of_another_class_map_fails_a_volume_that_no_import_could_mend(
    tables: Database, world: World, pipeline: Pipeline, decide: Callable[[Campaign, str], tuple[str, ...]]
) -> None:
    revision = world.add_label("a", storage_pb2.ORIGIN_REVISION, ["liver"], "ann")
    decide(in_review(tables, world, "first"), revision)
    world.labels[revision].class_map = "other-1"
    Campaign(tables, {"a": 1}, name="second")
    pipeline.volume(run, Work("second", 1, "a"))
    with tables.read() as session:
        error = session.get_one(Item, ("second", "a")).error
    assert error == (
        f"plan: CLASS_MAP_MISMATCH: volume: {revision} speaks of other-1, the campaign of {CLASS_MAP}. "
        "Use models of its class map, or leave the volume out."
    )


def test_of_labels_by_two_class_maps_the_campaign_takes_its_own(
    world: World, work_on: Callable[[str], tuple[int, str]]
) -> None:
    (own,) = world.labels
    other = world.add_label("b", storage_pb2.ORIGIN_SOURCE, ["liver", "colon"], "source")
    world.labels[other].class_map = "other-1"
    assert work_on("b") == (ItemState.READY, "")
    (merged,) = [made for name, made in world.made.items() if name.startswith("volumes/b/labels/")]
    assert merged[1] == (own,)


def test_the_newest_decision_is_merged_last_even_where_it_was_taken_before(
    tables: Database, world: World, decide: Callable[[Campaign, str], tuple[str, ...]]
) -> None:
    """Merges take the last of two revisions for the newer."""
    first, second, third = (in_review(tables, world, name) for name in ("first", "second", "third"))
    ann, ben = (world.add_label("a", storage_pb2.ORIGIN_REVISION, ["liver"], who) for who in ("ann", "ben"))
    assert decide(first, ann) == (ann,)
    assert decide(second, ben) == (ann, ben)
    assert decide(third, ann) == (ben, ann)


def test_a_decision_is_merged_without_revisions_of_campaigns_with_another_class_map(
    tables: Database, world: World, decide: Callable[[Campaign, str], tuple[str, ...]]
) -> None:
    """They would have every later decision on the volume refused."""
    here = in_review(tables, world, "here")
    there = in_review(tables, world, "there", ensemble=replace(ENSEMBLE, class_map="abdomenatlas-1.1"))
    theirs, ours = (world.add_label("a", storage_pb2.ORIGIN_REVISION, ["liver"], who) for who in ("ben", "ann"))
    world.labels[theirs].class_map = "abdomenatlas-1.1"
    assert decide(there, theirs) == (theirs,)
    assert decide(here, ours) == (ours,)

"""The work on one volume, step by step, without the workflow engine."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from abdomenatlas.storage.v1.storage_pb2 import ORIGIN_SOURCE
from services.scheduler import clock, rounds
from services.scheduler.campaigns import ItemState
from services.scheduler.database import Database
from services.scheduler.ensembles import Ensemble
from services.scheduler.items import Work
from services.scheduler.pipeline import Pipeline
from services.scheduler.retry import Patience
from services.scheduler.rounds import Acquisition, Plan
from services.scheduler.settings import Settings
from services.scheduler.tables import Item
from services.scheduler.workers import Workers
from tests.scheduler.world import CLASS_MAP, MODELS, ORGANS, Server, World


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Database]:
    """Yield a database with a campaign "c" over the volumes "a", whose source labelled nothing, and "b"."""
    database = Database(make_url(f"sqlite:///{tmp_path}/scheduler.db"))
    database.migrate()
    ensemble = Ensemble(MODELS, ORGANS, 1.5, CLASS_MAP)
    with database.change() as session:
        rounds.create(
            session,
            Plan("c", ("a", "b"), ensemble, "parity", Acquisition(review_share=0.0), "", "f" * 64, "t"),
            clock.now(),
        )
    yield database
    database.close()


@pytest.fixture
def work_on(tables: Database, workers: Server) -> Callable[[str], tuple[int, str]]:
    """Return what works on a volume of "c" and gives back its state and error."""
    address = workers.address
    settings = Settings(storage=address, inference=address, uncertainty=address, merging=address)
    pipeline = Pipeline(tables, Workers(settings), Patience(0), clock.now)

    def run(_name: str, action: Callable[[], Any]) -> Any:
        return action()

    def work(volume: str) -> tuple[int, str]:
        pipeline.volume(run, Work("c", 1, volume))
        with tables.read() as session:
            item = session.get_one(Item, ("c", volume))
            return item.state, item.error

    return work


def test_labels_of_another_class_map_fail_a_volume_before_a_prediction_is_paid_for(
    world: World, work_on: Callable[[str], tuple[int, str]]
) -> None:
    (label,) = world.labels.values()
    label.class_map = "other-1"
    state, error = work_on("b")
    assert state == ItemState.FAILED
    assert error.startswith(f"plan: CLASS_MAP_MISMATCH: volume: {label.name} speaks of other-1")
    assert not any(world.calls["predict", "b", model] for model in MODELS)
    assert work_on("a") == (ItemState.READY, "")


def test_of_labels_by_two_class_maps_the_campaign_takes_its_own(
    world: World, work_on: Callable[[str], tuple[int, str]]
) -> None:
    (own,) = world.labels
    other = world.add_label("b", ORIGIN_SOURCE, ["liver", "colon"], "source")
    world.labels[other].class_map = "other-1"
    assert work_on("b") == (ItemState.READY, "")
    (merged,) = [made for name, made in world.made.items() if name.startswith("volumes/b/labels/")]
    assert merged[1] == (own,)

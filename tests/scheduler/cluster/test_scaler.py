"""The scheduler scales Triton's Deployment in a real cluster, with no more rights than the chart gives it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.scheduler import clock
from services.scheduler.cluster.api import Api, Scale
from services.scheduler.cluster.scaler import Scaler
from services.scheduler.database import Database
from services.scheduler.settings import Settings
from services.scheduler.tables import Executor
from tests.components.processes import wait_until
from tests.scheduler.cluster.conftest import TRITON, Site
from tests.scheduler.rounds_of import Campaign, volumes
from tests.scheduler.running import Scheduler
from tests.scheduler.world import MODELS, Server, World, model

SECONDS = 120


@dataclass
class Time:
    """Seconds that pass when the test says so."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(make_url(f"sqlite:///{tmp_path}/scheduler.db"))
    database.migrate()
    yield database
    database.close()


def scaler(database: Database, api: Api, time: Time | None = None, executor: str = "atlas-0") -> Scaler:
    """A scaler whose scheduler has just given a sign of life."""
    settings = Settings(
        executor_id=executor,
        dead_seconds=3600,
        cluster_deployment=TRITON,
        cluster_max_pods=3,
        cluster_volumes_per_pod=2,
        cluster_cooldown_seconds=60,
    )
    with database.change() as session:
        session.merge(Executor(id=executor, seen_time=clock.now()))
    return Scaler(settings, database, api, clock.now, time or Time())


def test_pods_come_with_the_backlog_and_go_a_while_after_it(site: Site, api: Api, database: Database) -> None:
    """From none to as many as are allowed, and back to none; Kubernetes makes and deletes the pods."""
    site.set_replicas(0)
    time = Time()
    ours = scaler(database, api, time)
    ours.look()
    assert site.replicas() == 0
    Campaign(database, volumes(3))
    ours.look()
    assert site.replicas() == 2
    wait_until(lambda: len(site.pods()) == 2, "two pods", SECONDS)
    campaign = Campaign(database, volumes(50), name="d")
    time.seconds = 10
    ours.look()
    assert site.replicas() == 3
    campaign.score()
    for passed in (20, 69):
        time.seconds = passed
        ours.look()
        assert site.replicas() == 3
    time.seconds = 81
    ours.look()
    assert site.replicas() == 0
    wait_until(lambda: site.pods() == [], "the end of the pods", SECONDS)


def test_what_somebody_else_set_is_brought_within_the_bounds(site: Site, api: Api, database: Database) -> None:
    site.set_replicas(9)
    scaler(database, api).look()
    assert site.replicas() == 3


class Contested(Api):
    """The API, beside somebody who changes the scale between every reading and writing of the first `times`."""

    site: Site
    times: int

    def rescale(self, deployment: str, seen: Scale, pods: int) -> None:
        if self.times:
            self.times -= 1
            self.site.set_replicas(0 if seen.pods else 1)
        super().rescale(deployment, seen, pods)


@pytest.mark.parametrize(("times", "reached"), [(1, True), (3, True), (1000, False)])
def test_a_conflict_is_looked_at_again_a_few_times(
    times: int, reached: bool, site: Site, api: Api, database: Database
) -> None:
    """Kubernetes answers 409 to each write after a change; what somebody else wrote is not overwritten unseen."""
    site.set_replicas(0)
    Campaign(database, volumes(6))
    contested = Contested(site.account)
    contested.site, contested.times = site, times
    ours = scaler(database, contested)
    if reached:
        ours.look()
        assert site.replicas() == 3
    else:
        with pytest.raises(AtlasError, match="changed by somebody else 10 times") as raised:
            ours.look()
        assert raised.value.reason == Reason.RESOURCE_CONFLICT
    contested.close()


def test_of_several_schedulers_the_first_that_lives_scales(site: Site, api: Api, database: Database) -> None:
    """The next one begins to when the first is silent, and then lets no pod go before a cool-down of its own."""
    site.set_replicas(0)
    campaign = Campaign(database, volumes(4))
    time = Time()
    first, second = (scaler(database, api, time, executor) for executor in ("atlas-0", "atlas-1"))
    second.look()
    assert site.replicas() == 0
    first.look()
    assert site.replicas() == 2
    campaign.score()
    with database.change() as session:
        session.merge(Executor(id="atlas-0", seen_time=1))
    for passed, pods in ((1000, 2), (1059, 2), (1060, 0)):
        time.seconds = passed
        second.look()
        assert site.replicas() == pods


@pytest.mark.parametrize(
    ("deployment", "reason", "said"),
    [(TRITON, Reason.UNAUTHENTICATED, "401"), ("another", Reason.PERMISSION_DENIED, "cannot get resource")],
)
def test_refusals_say_what_to_look_at(
    deployment: str, reason: Reason, said: str, site: Site, api: Api, tmp_path: Path
) -> None:
    if reason == Reason.UNAUTHENTICATED:
        for name in ("ca.crt", "namespace"):
            (tmp_path / name).write_bytes((site.account / name).read_bytes())
        (tmp_path / "token").write_text("not one")
        api = Api(tmp_path)
    with pytest.raises(AtlasError, match=said) as raised:
        api.scale(deployment)
    assert raised.value.reason == reason
    assert raised.value.remedy


def test_an_api_server_that_is_away_is_asked_again(
    site: Site, api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.set_replicas(0)
    Campaign(database, volumes(1))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    away = Api(site.account)
    ours = scaler(database, away)
    with pytest.raises(AtlasError) as raised:
        ours.look()
    assert raised.value.reason == Reason.DEPENDENCY_UNAVAILABLE
    ours._api = api
    ours.look()
    assert site.replicas() == 1


@pytest.mark.usefixtures("account")
def test_a_scheduler_s_own_loop_scales(site: Site, workers: Server, world: World, tmp_path: Path) -> None:
    """The process as the chart starts it.

    Without a pod a campaign is refused, and has one come. Then it is taken, pods come while its volumes are worked on,
    and they go after a cool-down.
    """
    site.set_replicas(0)
    world.predict_seconds = 600
    ready, world.models = world.models, [model(name, ready=False) for name in MODELS]
    given: dict[str, Any] = {
        "cluster_deployment": TRITON,
        "cluster_account": site.account,
        "cluster_volumes_per_pod": 2,
        "cluster_look_seconds": 0.2,
        # A busy machine may keep it from giving a sign of life for seconds.
        "dead_seconds": 60,
        "cluster_cooldown_seconds": 1,
    }
    with Scheduler(f"sqlite:///{tmp_path}/scheduler.db", workers.address, tmp_path, **given) as scheduler:
        with pytest.raises(AtlasError, match="Inference has no model ready"):
            scheduler.create("c1", ["a", "b", "c"])
        wait_until(lambda: site.replicas() == 1, "the first pod", SECONDS)
        world.models = ready
        scheduler.create("c1", ["a", "b", "c"])
        wait_until(lambda: site.replicas() == 2, "two pods", SECONDS)
        scheduler.rpc.CancelCampaign(pb.CancelCampaignRequest(name="campaigns/c1"))
        wait_until(lambda: site.replicas() == 0, "the end of the pods", SECONDS)
        wait_until(lambda: [line["pods"] for line in scheduler.lines("scaled")] == [1, 2, 0], "the log of it", SECONDS)


def test_a_scheduler_that_shall_scale_outside_a_cluster_does_not_start(workers: Server, tmp_path: Path) -> None:
    given: dict[str, Any] = {"cluster_deployment": TRITON, "cluster_account": tmp_path}
    process = Scheduler(f"sqlite:///{tmp_path}/scheduler.db", workers.address, tmp_path, **given)
    with pytest.raises(AssertionError, match="There is no service account of Kubernetes here"):
        process.start()

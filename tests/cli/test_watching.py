"""Following a campaign survives dropped connections and tells every event once."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.scheduler.v1.scheduler_pb2_grpc import SchedulerServiceStub
from services.cli.watching import Tally, describe, follow
from services.core.errors import AtlasError, Reason

KINDS = sched.CampaignEvent
GONE = AtlasError(Reason.DEPENDENCY_UNAVAILABLE, "scheduler does not answer.")


def message(sequence: int, kind: KINDS.Kind.ValueType, volume: str = "", resource: str = "") -> Any:
    event = KINDS(sequence=sequence, kind=kind, volume=volume, resource=resource)
    campaign = sched.Campaign(name="campaigns/a", volume_count=2, models=["models/m/versions/1"])
    return sched.WatchCampaignResponse(event=event, campaign=campaign)


class Scheduler:
    """Sends ten events and drops the connection where it is told to."""

    def __init__(self, *drops: int, refuse: int = 0) -> None:
        self.drops, self.refuse = list(drops), refuse
        self.asked: list[int] = []

    def WatchCampaign(self, request: sched.WatchCampaignRequest) -> Iterator[Any]:  # noqa: N802  # the RPC's name
        self.asked.append(request.after_sequence)
        if self.refuse:
            self.refuse -= 1
            raise GONE
        for sequence in range(request.after_sequence + 1, 11):
            yield message(sequence, KINDS.KIND_SCORED)
            if self.drops and self.drops[0] == sequence:
                self.drops.pop(0)
                raise GONE

    def GetCampaign(self, _: sched.GetCampaignRequest) -> Any:  # noqa: N802  # the RPC's name
        return SimpleNamespace(campaign=sched.Campaign(state=sched.Campaign.STATE_IN_REVIEW))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.cli.watching.time.sleep", lambda _: None)


def sequences(scheduler: Scheduler, **options: Any) -> list[int]:
    stub = cast(SchedulerServiceStub, scheduler)
    return [m.event.sequence for m in follow(stub, "campaigns/a", **options)]


def test_every_event_once_over_dropped_connections() -> None:
    scheduler = Scheduler(3, 7)
    assert sequences(scheduler) == list(range(1, 11))
    assert scheduler.asked == [0, 3, 7]


def test_it_waits_for_a_scheduler_that_starts_again() -> None:
    assert sequences(Scheduler(refuse=5), after=8) == [9, 10]


def test_it_gives_up_in_the_end() -> None:
    with pytest.raises(AtlasError, match="does not answer"):
        sequences(Scheduler(refuse=1_000_000), patience_seconds=0.05)


def test_other_errors_are_not_waited_for() -> None:
    class Missing(Scheduler):
        def WatchCampaign(self, request: sched.WatchCampaignRequest) -> Iterator[Any]:  # noqa: N802
            raise AtlasError(Reason.RESOURCE_NOT_FOUND, "There is none.")

    with pytest.raises(AtlasError, match="There is none"):
        sequences(Missing())


def test_a_tally_counts_a_repeated_step_once_and_a_new_round_anew() -> None:
    tally = Tally()
    for sequence, kind in enumerate((KINDS.KIND_ROUND_STARTED, KINDS.KIND_SCORED, KINDS.KIND_SCORED), start=1):
        tally.add(message(sequence, kind, "volumes/x"))
    tally.add(message(4, KINDS.KIND_PREDICTED, "volumes/x", "p1"))
    assert tally.stages() == [("predicted", 1, 2), ("scored", 1, 2), ("merged", 0, 2)]
    tally.add(message(5, KINDS.KIND_ROUND_STARTED))
    assert tally.stages() == [("predicted", 0, 2), ("scored", 0, 2), ("merged", 0, 2)]


def test_events_in_a_line() -> None:
    event = KINDS(kind=KINDS.KIND_REVIEW_CLAIMED, volume="volumes/x", actor="Dr. A")
    assert describe(event).endswith("review claimed  x  by Dr. A")

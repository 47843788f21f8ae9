"""Any process may be killed at any moment: the campaign ends with the same labels, and nothing is done twice."""

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from services.cli.stack.state import Endpoint, StateFolder
from tests.e2e.campaign import MODELS, Outcome, begin, bring_in, events, outcomes, stack, write_cases

VICTIMS = ("inference", "triton", "uncertainty", "merging", "storage", "scheduler")
SEEDS = range(3_000_000_001, 3_000_000_005)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_cases(tmp_path_factory.mktemp("cases"), list(SEEDS))


@pytest.fixture(scope="module")
def undisturbed(cases: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    with stack(tmp_path_factory.mktemp("undisturbed")) as connection:
        begin(connection, bring_in(connection, cases))
        assert [e.kind for e in events(connection)][-1] == sched.CampaignEvent.KIND_RANKED
        return outcomes(connection)


def test_every_process_killed_in_turn(cases: list[Path], undisturbed: dict[str, Outcome], tmp_path: Path) -> None:
    """SIGKILL to each service and to Triton during the campaign, one after each piece of progress."""
    with stack(tmp_path) as connection:
        volumes = bring_in(connection, cases)
        begin(connection, volumes)
        killed, history = 0, []
        for event in events(connection):
            history.append(event)
            if killed < len(VICTIMS) and event.kind == sched.CampaignEvent.KIND_PREDICTED:
                kill(tmp_path, VICTIMS[killed])
                killed += 1
        assert killed == len(VICTIMS)
        assert outcomes(connection) == undisturbed

    assert [e.sequence for e in history] == list(range(1, len(history) + 1))
    kinds = Counter((e.kind, e.volume, e.resource) for e in history)
    assert set(kinds.values()) == {1}
    per_volume = Counter((e.kind, e.volume) for e in history)
    for volume in volumes:
        assert per_volume[sched.CampaignEvent.KIND_PREDICTED, volume] == len(MODELS)
        assert per_volume[sched.CampaignEvent.KIND_SCORED, volume] == 1
        assert per_volume[sched.CampaignEvent.KIND_MERGED, volume] == 1

    # What was in flight at a kill may be computed again, one piece of work for each volume in hand; no more.
    work = len(volumes) * (len(MODELS) + 2)
    assert work <= recorded(tmp_path) <= work + len(VICTIMS) * in_hand()


def kill(state: Path, name: str) -> None:
    """SIGKILL one process of the stack and wait until the supervisor has brought it back."""
    victim = endpoint(state, name)
    assert victim.process is not None
    os.kill(victim.process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 120
    while (now := endpoint(state, name)).restarts == victim.restarts or not now.ready:
        assert time.monotonic() < deadline, f"{name} did not come back"
        time.sleep(0.2)


def endpoint(state: Path, name: str) -> Endpoint:
    running = StateFolder(state).read()
    assert running is not None
    return next(e for e in running.endpoints if e.name == name)


def recorded(state: Path) -> int:
    """How many results the workers brought to storage, by its log."""
    methods = {f"StorageService/Create{what}" for what in ("Prediction", "AttentionMap", "LabelVersion")}
    lines = (json.loads(line) for line in (state / "logs" / "storage.log").read_text().splitlines() if line[:1] == "{")
    return sum(line.get("method") in methods and line["reason"] == "OK" for line in lines)


def in_hand() -> int:
    from services.scheduler.settings import Settings

    return int(Settings.model_fields["concurrency"].default)


def test_a_stack_started_again_goes_on(cases: list[Path], undisturbed: dict[str, Outcome], tmp_path: Path) -> None:
    """A clean stop in the middle of a campaign loses nothing: the next start ends it."""
    with stack(tmp_path) as connection:
        begin(connection, bring_in(connection, cases))
        next(e for e in events(connection) if e.kind == sched.CampaignEvent.KIND_MERGED)
    with stack(tmp_path) as connection:
        assert [e.kind for e in events(connection)][-1] == sched.CampaignEvent.KIND_RANKED
        assert outcomes(connection) == undisturbed

"""`atlas campaign next-round` names the round, so that no repetition starts one more."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer
from typer.testing import CliRunner

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from services.cli.commands.campaigns import register
from services.cli.connection import Connection


def test_the_round_after_the_current_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[sched.StartRoundRequest] = []

    def get(request: sched.GetCampaignRequest) -> Any:
        return SimpleNamespace(campaign=sched.Campaign(name=request.name, round=4))

    def start(request: sched.StartRoundRequest) -> Any:
        asked.append(request)
        return SimpleNamespace(campaign=sched.Campaign(name=request.name, round=request.round))

    scheduler = SimpleNamespace(GetCampaign=get, StartRound=start)
    monkeypatch.setattr(Connection, "to", lambda _: cast(Connection, SimpleNamespace(scheduler=scheduler)))
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, ["campaign", "next-round", "spring"])
    assert result.exit_code == 0, result.output
    assert asked == [sched.StartRoundRequest(name="campaigns/spring", round=5)]

"""The plan of a stack: a port for everyone, and no setting that a service does not have."""

import importlib
from pathlib import Path

import pytest

from services.cli.stack.child import Child, ServiceProcess
from services.cli.stack.plan import SERVICES, plan
from services.cli.stack.state import StateFolder


@pytest.fixture
def children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    """The processes of a stack, planned while the system gives the same free ports to everyone who asks."""
    ports = list(range(20_000, 20_099))
    for module in ("plan", "triton"):
        monkeypatch.setattr(f"services.cli.stack.{module}.free_ports", lambda n: ports[-n:])
    (tmp_path / "models" / "m").mkdir(parents=True)
    (tmp_path / "models" / "m" / "config.pbtxt").touch()
    return [child for layer in plan(StateFolder(tmp_path / "state"), tmp_path / "models") for child in layer]


def test_no_port_is_given_twice(children: list[Child]) -> None:
    places = [place for child in children for place in (child.address, child.metrics)]
    assert len(places) == 2 * (len(SERVICES) + 1)
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_told_its_own_settings_alone(children: list[Child], name: str) -> None:
    child = next(child for child in children if child.name == name)
    assert isinstance(child, ServiceProcess)
    fields = importlib.import_module(f"services.{name}.settings").Settings.model_fields
    assert {key.removeprefix(f"ATLAS_{name.upper()}_").lower() for key in child.environment} <= set(fields)

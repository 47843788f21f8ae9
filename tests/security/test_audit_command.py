"""`atlas audit` against a closed storage: who may read, what it tells, and what a broken log looks like."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.storage.v1.storage_pb2_grpc import StorageServiceStub
from services.cli import connection
from services.cli.app import app
from services.cli.commands import audit
from services.cli.exits import Exit, exit_code
from services.core.audit.chain import genesis
from services.core.errors import AtlasError
from services.core.rpc.credentials import Credentials
from tests.security.calls import refusal
from tests.security.conftest import Closed


@pytest.fixture(scope="module")
def changed(closed_services: Callable[..., Closed], tmp_path_factory: pytest.TempPathFactory) -> Closed:
    """A storage whose log holds some calls of its own."""
    closed = closed_services("storage")
    add_entries(closed)
    return closed


def add_entries(closed: Closed) -> None:
    """Three calls of the operator eve that change something."""
    operator = StorageServiceStub(closed.with_token(closed.issuer.token("eve", "operator")))
    for number in range(3):
        request = pb.CreateVolumeRequest(volume_id=f"case-{number}", object="objects/" + 64 * "0")
        refusal(lambda r=request: operator.CreateVolume(r, timeout=10))  # type: ignore[misc]


audit.register(app)


@dataclass(frozen=True)
class Shown:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def run(closed: Closed, *words: str, role: str = "admin", cwd: Path) -> Shown:
    """Run `atlas audit` within this process: starting one for each would take most of the time."""
    token = cwd / "token"
    token.write_text(closed.issuer.token("root", role) + "\n")
    given = ("--ca", str(closed.authority.ca), "--token-file", str(token), "audit", *words, "--log", "storage")
    try:
        result = CliRunner().invoke(app, given, env={"ATLAS_STORAGE": closed.service.address})
    finally:
        connection.show(Credentials())
    if isinstance(result.exception, AtlasError):
        return Shown(exit_code(result.exception), result.stdout, str(result.exception))
    return Shown(result.exit_code, result.stdout, result.stderr)


def test_every_call_that_changes_something_stands_twice(changed: Closed, tmp_path: Path) -> None:
    """Before it began, and how it ended, under one request id."""
    shown = run(changed, "list", "--json", cwd=tmp_path)
    assert shown.returncode == Exit.DONE, shown.stderr
    entries = [json.loads(line) for line in shown.stdout.splitlines()]
    found = [(e["actor"], e["role"], e["method"], e["resource"], e["outcome"]) for e in entries]
    method = "StorageService/CreateVolume"
    assert found == [
        ("eve", "operator", method, f"case-{number}", outcome)
        for number in range(3)
        for outcome in ("BEGUN", "RESOURCE_NOT_FOUND")
    ]
    assert all(e["request_id"] == entries[2 * (i // 2)]["request_id"] for i, e in enumerate(entries))
    table = run(changed, "list", "--after", "4", cwd=tmp_path).stdout
    assert "case-2" in table
    assert "case-1" not in table


def test_only_an_administrator_reads_it(changed: Closed, tmp_path: Path) -> None:
    shown = run(changed, "verify", role="operator", cwd=tmp_path)
    assert shown.returncode == Exit.REFUSED
    assert "takes the role admin" in shown.stderr


def test_the_end_of_one_run_is_held_against_the_next(changed: Closed, tmp_path: Path) -> None:
    """An anchor that is there passes; one of a log that was cut off, or written anew, does not."""
    first = run(changed, "verify", "--json", cwd=tmp_path)
    assert first.returncode == Exit.DONE, first.stderr
    (log,) = json.loads(first.stdout)
    assert run(changed, "verify", "--anchor", log["end"], cwd=tmp_path).returncode == Exit.DONE
    name, sequence, digest = log["end"].split(":")
    for end in (f"{name}:{sequence}:{'0' * 64}", f"{name}:{int(sequence) + 100}:{digest}"):
        shown = run(changed, "verify", "--anchor", end, cwd=tmp_path)
        assert shown.returncode == Exit.FAULT
        assert "not what was written" in shown.stderr
    assert run(changed, "verify", "--anchor", "storage:x", cwd=tmp_path).returncode == Exit.USAGE


def test_the_end_of_an_empty_log_is_an_anchor_too(closed_services: Callable[..., Closed], tmp_path: Path) -> None:
    """That log may have grown since; another beginning is not its own."""
    closed = closed_services("storage")
    (log,) = json.loads(run(closed, "verify", "--json", cwd=tmp_path).stdout)
    assert (log["entries"], log["end"]) == (0, f"storage:0:{genesis('storage')}")
    assert run(closed, "verify", "--anchor", log["end"], cwd=tmp_path).returncode == Exit.DONE
    add_entries(closed)
    assert run(closed, "verify", "--anchor", log["end"], cwd=tmp_path).returncode == Exit.DONE
    shown = run(closed, "verify", "--anchor", f"storage:0:{genesis('scheduler')}", cwd=tmp_path)
    assert shown.returncode == Exit.FAULT
    assert "not what was written" in shown.stderr


def test_anchors_that_nothing_can_be_held_against_are_refused(changed: Closed, tmp_path: Path) -> None:
    """Of a log that is not read, or two that contradict each other; never is one passed over."""
    (log,) = json.loads(run(changed, "verify", "--json", cwd=tmp_path).stdout)
    end, other = log["end"], f"{log['end'].rsplit(':', 1)[0]}:{'0' * 64}"
    for anchors in ((f"scheduler:99:{'0' * 64}",), (other, end), (end, other)):
        words = [word for anchor in anchors for word in ("--anchor", anchor)]
        shown = run(changed, "verify", *words, cwd=tmp_path)
        assert shown.returncode == Exit.USAGE, anchors
    assert run(changed, "verify", "--anchor", end, "--anchor", end, cwd=tmp_path).returncode == Exit.DONE


def test_the_first_broken_entry_is_named(changed: Closed, tmp_path: Path) -> None:
    """Last, for the log stays broken."""
    path = changed.service.log.parent / "catalog.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER storage_audit_log_update")
        connection.execute("UPDATE storage_audit_log SET actor = 'nobody' WHERE sequence = 2")
        connection.commit()
    shown = run(changed, "verify", cwd=tmp_path)
    assert shown.returncode == Exit.FAULT
    assert "entry 2 is not what was written" in shown.stderr

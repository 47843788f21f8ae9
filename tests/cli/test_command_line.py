"""The command as a user meets it: exit codes, messages, help."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.exits import Exit, exit_code, table
from services.core.errors import AtlasError, Reason


def atlas(*words: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the real entry point; nothing of a user's own settings counts."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("ATLAS_")}
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**inherited, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **environment},
        timeout=120,
        check=False,
    )


def test_help_shows_every_command_and_the_exit_codes(tmp_path: Path) -> None:
    shown = atlas("--help", cwd=tmp_path)
    assert shown.returncode == Exit.DONE
    for word in ("up", "down", "status", "import", "campaign", "review", "export", "report", "demo", "Exit codes"):
        assert word in shown.stdout


def test_a_wrong_command_line_is_code_2(tmp_path: Path) -> None:
    assert atlas("campaign", "create", cwd=tmp_path).returncode == Exit.USAGE
    assert atlas("nonsense", cwd=tmp_path).returncode == Exit.USAGE


def test_without_a_stack_it_says_how_to_start_one(tmp_path: Path) -> None:
    shown = atlas("campaign", "list", cwd=tmp_path)
    assert shown.returncode == Exit.UNREACHABLE
    assert shown.stderr.startswith("error: .atlas: No stack runs here. Start it with `atlas up`")
    assert "Traceback" not in shown.stderr
    assert atlas("status", cwd=tmp_path).returncode == Exit.UNREACHABLE
    assert atlas("down", cwd=tmp_path).returncode == Exit.DONE


def test_a_service_that_is_away_is_code_3(tmp_path: Path) -> None:
    shown = atlas("campaign", "list", cwd=tmp_path, ATLAS_SCHEDULER="127.0.0.1:1")
    assert shown.returncode == Exit.UNREACHABLE
    assert shown.stderr.startswith("error: scheduler does not answer.")


def test_a_bad_name_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    shown = atlas("campaign", "watch", "../x", cwd=tmp_path, ATLAS_SCHEDULER="127.0.0.1:1")
    assert shown.returncode == Exit.REFUSED
    assert "error: campaign: '../x' is not an id." in shown.stderr


def test_up_without_models_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    shown = atlas("up", "--models", "models", cwd=tmp_path)
    assert shown.returncode == Exit.REFUSED
    assert "This is not a Triton model repository" in shown.stderr
    assert "--models" in shown.stderr


def test_every_reason_has_an_exit_code() -> None:
    codes = {reason: exit_code(AtlasError(reason, "x")) for reason in Reason}
    assert codes[Reason.DEPENDENCY_UNAVAILABLE] == Exit.UNREACHABLE
    assert codes[Reason.LEASE_LOST] == Exit.STATE
    assert codes[Reason.INTERNAL] == Exit.FAULT
    assert codes[Reason.FILE_NOT_NIFTI] == Exit.REFUSED
    assert set(codes.values()).isdisjoint({Exit.DONE, Exit.USAGE, Exit.INTERRUPTED})


@pytest.mark.parametrize("code", list(Exit))
def test_the_help_explains_every_code(code: Exit) -> None:
    assert f"{code.value} " in table()

"""Trainings as processes of one machine: asked for at once, cancelled half way, and with damaged records."""

import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.core.errors import AtlasError, Reason
from services.scheduler.training_processes import TrainingProcesses


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainingProcesses]:
    """With trainings that go on until they are ended."""
    endless = tmp_path / "endless"
    endless.write_text("#!/bin/sh\nsleep 600\n")
    endless.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(endless))
    runner = TrainingProcesses(tmp_path, tmp_path / "trainings", {})
    yield runner
    runner.stop()


def test_equal_calls_at_once_start_one_process(
    runner: TrainingProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def popen(*given: Any, **options: Any) -> psutil.Popen:
        begun.append(given)
        return real(*given, **options)

    real = psutil.Popen
    monkeypatch.setattr(psutil, "Popen", popen)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: runner.start({}, ["tune", str(tmp_path / "none")], "ann"), range(8)))
    assert len({training.id for training in found}) == 1
    assert len(begun) == 1


@pytest.mark.parametrize("harm", ["no output", "no json", "no actor"])
def test_a_damaged_record_hides_no_other(runner: TrainingProcesses, tmp_path: Path, harm: str) -> None:
    """It is no training itself; started again it is one."""
    good, bad = (runner.start({}, ["tune", str(tmp_path / name)], "ann") for name in ("good", "bad"))
    runner.stop()
    home = tmp_path / "trainings" / bad.id
    if harm == "no output":
        (home / "output.log").unlink()
    else:
        (home / "about.json").write_text("{" if harm == "no json" else '{"pid": 1}')
    assert [training.id for training in runner.all()] == [good.id]
    with pytest.raises(AtlasError) as caught:
        runner.get(bad.id)
    assert caught.value.reason is Reason.RESOURCE_NOT_FOUND
    runner.start({}, ["tune", str(tmp_path / "bad")], "ann")
    assert {training.id for training in runner.all()} == {good.id, bad.id}


def test_a_cancelled_training_leaves_no_half_record(
    runner: TrainingProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if nothing of it but its record could be deleted."""
    training = runner.start({}, ["tune", str(tmp_path / "none")], "ann")
    monkeypatch.setattr(shutil, "rmtree", lambda *given, **options: None)
    runner.cancel(training.id)
    assert runner.all() == []

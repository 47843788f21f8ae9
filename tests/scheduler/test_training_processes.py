"""Trainings as processes of one machine: asked for at once, cancelled half way, and with damaged records."""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import structlog

from services.core.errors import AtlasError, Reason
from services.scheduler.training_processes import TrainingProcesses
from services.scheduler.trainings import State
from tests.components.processes import wait_until


def shells(tmp_path: Path) -> list[psutil.Process]:
    """The processes of this runner's trainings."""
    place = str(tmp_path / "trainings")
    return [one for one in psutil.Process().children() if any(place in word for word in one.cmdline())]


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainingProcesses]:
    """With trainings that go on until they are ended."""
    endless = tmp_path / "endless"
    endless.write_text("#!/bin/sh\nsleep 600\n")
    endless.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(endless))
    runner = TrainingProcesses(tmp_path, tmp_path / "trainings", {}, slots=2)
    yield runner
    runner.stop()
    for left in shells(tmp_path):
        os.killpg(left.pid, signal.SIGKILL)


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
    assert "List the trainings" in caught.value.remedy
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


def words(tmp_path: Path, name: str) -> list[str]:
    return ["tune", str(tmp_path / name)]


def test_trainings_wait_for_a_slot_also_over_a_restart(runner: TrainingProcesses, tmp_path: Path) -> None:
    """The oldest that waits begins when one ends; after a restart those that wait begin, and those that ran do not."""
    ids = [runner.start({}, words(tmp_path, name), "ann").id for name in "abcde"]
    waiting, running = [State.WAITING] * 2, [State.RUNNING] * 2
    assert [runner.get(one).state for one in ids] == [*running, State.WAITING, *waiting]
    assert runner.get(ids[2]).message == "It begins when another training has ended."
    assert runner.start({}, words(tmp_path, "c"), "ann").state == State.WAITING
    runner.cancel(ids[0])
    assert [runner.get(one).state for one in ids[1:]] == [*running, *waiting]
    (tmp_path / "trainings" / ids[1] / "code").write_text("0")
    runner.serve()
    wait_until(lambda: runner.get(ids[3]).state == State.RUNNING, "its turn", 30)
    assert runner.get(ids[4]).state == State.WAITING
    runner.stop()
    assert [runner.get(one).state for one in ids[1:]] == [State.DONE, State.FAILED, State.FAILED, State.WAITING]
    again = TrainingProcesses(tmp_path, tmp_path / "trainings", {}, slots=2)
    again.serve()
    try:
        wait_until(lambda: again.get(ids[4]).state == State.RUNNING, "its turn after the restart", 30)
    finally:
        again.stop()


def test_a_full_disk_leaves_no_process_of_which_nobody_knows(runner: TrainingProcesses, tmp_path: Path) -> None:
    """What could not be written down is ended, and begins once there is room; whoever looks says so once."""
    first, _, third = (runner.start({}, words(tmp_path, name), "ann") for name in "abc")
    assert len(shells(tmp_path)) == 2
    part = tmp_path / "trainings" / third.id / "about.json.part"
    part.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        runner.cancel(first.id)
    assert len(shells(tmp_path)) == 1
    with structlog.testing.capture_logs() as logs:
        runner.serve()
        wait_until(lambda: bool(logs), "a look", 30)
        time.sleep(2.5)
        assert [(line["event"], line["error"]) for line in logs] == [
            ("no waiting training can begin", "[Errno 28] No space left on device")
        ]
    assert runner.get(third.id).state == State.WAITING
    assert len(shells(tmp_path)) == 1
    part.unlink()
    wait_until(lambda: runner.get(third.id).state == State.RUNNING, "its turn", 30)
    assert len(shells(tmp_path)) == 2


def test_the_looks_go_on_whatever_one_meets(runner: TrainingProcesses, tmp_path: Path) -> None:
    """A record without its arguments, say, which somebody then mends."""
    one, _, third = (runner.start({}, words(tmp_path, name), "ann") for name in "abc")
    about = tmp_path / "trainings" / third.id / "about.json"
    record = json.loads(about.read_text())
    about.write_text(json.dumps({key: value for key, value in record.items() if key != "arguments"}))
    (tmp_path / "trainings" / one.id / "code").write_text("0")
    with structlog.testing.capture_logs() as logs:
        runner.serve()
        wait_until(lambda: bool(logs), "a look", 30)
    about.write_text(json.dumps(record))
    wait_until(lambda: runner.get(third.id).state == State.RUNNING, "its turn", 30)


def test_nothing_begins_after_the_stop(runner: TrainingProcesses, tmp_path: Path) -> None:
    """A call that comes while the scheduler ends finds its training waiting for the next one."""
    runner.stop()
    assert runner.start({}, words(tmp_path, "a"), "ann").state == State.WAITING
    assert shells(tmp_path) == []


def test_a_training_that_is_done_is_done_again_for_new_labels(runner: TrainingProcesses, tmp_path: Path) -> None:
    """Its arguments say nothing of what people have labelled since."""
    done = runner.start({}, words(tmp_path, "a"), "ann")
    (tmp_path / "trainings" / done.id / "code").write_text("0")
    assert runner.get(done.id).state == State.DONE
    again = runner.start({}, words(tmp_path, "a"), "bob")
    assert (again.id, again.state, again.actor) == (done.id, State.RUNNING, "bob")

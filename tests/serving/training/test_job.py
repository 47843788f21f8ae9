"""Trainings from beginning to end: the same twice, over a kill, on two devices, and with what can go wrong."""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboardX.proto.event_pb2 import Event

from services.core import modelversions
from services.core.errors import AtlasError, Reason
from services.serving.card import Network, load_card, load_version, save_card
from services.serving.imports.install import add
from services.serving.networks import build_network
from services.serving.repository import differing, folder_config
from services.serving.training import adding, checkpoints, curves, job
from services.serving.training.distributed import ALONE
from services.serving.training.loop import Budget
from services.serving.training.run import Run, learning_rate
from services.serving.training.sampling import Sampler
from services.serving.training.selection import Data
from tests.serving.training.boxes import EPOCHS, ORGANS, STEPS, data, entries, plan, trained, weights
from tests.serving.training.conftest import TINY, box_case

ROOT = Path(__file__).parents[3]


def as_process(home: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", *command, "tests.serving.training.boxes", str(home)]
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_a_killed_run_goes_on_where_it_was(home: Path) -> None:
    """Killed in its third epoch, it does two more, and ends with the weights of a run that nobody killed."""
    other = home / "other"
    shutil.copytree(home / "small", other / "small")
    trained(plan(other))
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    words = [sys.executable, "-m", "tests.serving.training.boxes", str(home), str(2 * STEPS + 1)]
    killed = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    (run,) = (home / "runs").iterdir()
    assert [point.epoch for point in curves.read(run)] == [1, 2]
    trained(plan(home))
    points = curves.read(run)
    assert [point.epoch for point in points] == [1, 2, 3, 4]
    assert points[-1].steps == EPOCHS * STEPS
    torch.testing.assert_close(weights(home / "small"), weights(other / "small"), rtol=0, atol=0)


@pytest.mark.parametrize("architecture", ["unet", "unetr"])
def test_two_devices_learn_together(home: Path, architecture: str) -> None:
    """Under torchrun, with gloo: one version comes of it, and each step took a crop from each. UNETR has weights that
    nothing goes through."""
    card = load_card(home / "small")
    network = Network.model_validate({"architecture": architecture, "arguments": TINY[architecture]})
    save_card(home / "small", card.model_copy(update={"network": network}))
    done = as_process(home, "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")
    assert done.returncode == 0, done.stderr
    facts = load_card(home / "small").trained_on
    assert facts is not None
    assert (facts["batch"], facts["steps"]) == (2, EPOCHS * STEPS)
    assert torch.isfinite(weights(home / "small")).all()


def test_the_curves_are_kept(home: Path) -> None:
    """As JSON lines, as a picture, and for TensorBoard."""
    trained(plan(home))
    (run,) = (home / "runs").iterdir()
    lines = [json.loads(line) for line in (run / curves.LOG).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert set(lines[0]["dsc"]) == set(ORGANS)
    assert (run / curves.PICTURE).read_bytes().startswith(b"\x89PNG")
    (events,) = (run / "tensorboard").iterdir()
    tags = [value.tag for event in _events(events.read_bytes()) for value in event.summary.value]
    assert tags.count("loss") == EPOCHS
    assert "dsc/liver" in tags


def test_the_next_version_waits_for_its_promotion(home: Path) -> None:
    """It lies beside the one that is served, with its own card and the comparison; the same run again adds nothing."""
    folder = home / "small"
    assert trained(plan(home)).version == 1
    modelversions.write_config(folder, folder_config(folder))
    before = weights(folder)
    tuned = plan(home, heads=("spleen",), organs=("spleen",), goes_on=True, seed=2)
    result = trained(tuned)
    assert result.version == 2
    assert modelversions.served_in(folder) == (1,)
    assert torch.equal(weights(folder), before)
    assert not torch.equal(weights(folder, 2), before)
    assert differing(home) == []
    card = load_version(folder, 2)
    assert card.trained_on is not None
    assert (card.label, card.trained_on["from_version"], card.trained_on["changed"]) == ("test-1-v2", 1, "heads")
    comparison = json.loads((folder / "2" / "comparison.json").read_text())
    assert comparison["promoted"] is result.promoted
    assert {row["organ"]: row["difference"] for row in comparison["organs"]}["liver"] == 0
    assert "| spleen | 2 |" in (folder / "2" / "comparison.md").read_text()
    assert trained(tuned) == result
    assert modelversions.numbers(folder) == [1, 2]


def test_an_added_network_is_trained_and_can_be_served(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton finds it by its configuration, which is there from its first weights on and not before; a training that
    was killed on the way writes all of it the next time."""
    card = load_card(home / "small")
    added = add(card, "added", home)
    folder = home / "added"
    assert (load_card(folder), added.weights) == (added, None)
    assert not (folder / modelversions.CONFIG_FILE).exists()
    shutil.rmtree(home / "small")
    few = plan(home, folder=folder, budget=Budget(1, None, 1, 1))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(adding, "save_card", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(few)
    monkeypatch.undo()
    assert trained(few) == job.Result("added", 1, promoted=True)
    assert differing(home) == []
    assert modelversions.served_in(folder) == (1,)
    assert trained(replace(few, goes_on=True, seed=2)).version == 2
    with pytest.raises(AtlasError, match="has a model added already") as caught:
        add(card, "added", home)
    assert caught.value.remedy == "Give another --name."


def test_a_promotion_during_the_training_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version was compared with the one that was served before, so it is kept, and says why it is not served."""
    folder = home / "small"
    trained(plan(home))
    shutil.copytree(folder / "1", folder / "2")
    add_version: Callable[..., int] = adding.add_version

    def added_late(*given: Any) -> int:
        number = add_version(*given)
        modelversions.update_config(folder, lambda config: modelversions.with_served(config, [1, 2]))
        return number

    modelversions.update_config(folder, lambda config: modelversions.with_served(config, [1]))
    monkeypatch.setattr(adding, "add_version", added_late)
    result = trained(plan(home, seed=2, margin=1.0, promotes=True))
    assert (result.version, result.promoted) == (3, False)
    assert "compared with version 1, and version 2 is served" in result.reasons[0]
    assert modelversions.served_in(folder) == (1, 2)


@pytest.mark.parametrize("change", [{"intensity": (-1.0, 1.0)}, {"axes": "RAS"}, {"working_factor": 1}])
def test_another_input_is_another_training(home: Path, change: dict[str, object]) -> None:
    """Its checkpoint is of no use to the other; another label is the same training."""
    card = load_card(home / "small")
    known = job._identity(plan(home), data(), card)
    assert job._identity(plan(home), data(), card.model_copy(update=change)) != known
    assert job._identity(plan(home), data(), card.model_copy(update={"label": "new"})) == known


def test_an_organ_without_labels_is_refused_by_name(home: Path) -> None:
    with pytest.raises(AtlasError, match="Nobody looked for spleen, pancreas") as caught:
        job.train(plan(home), data(("liver",)), ALONE)
    assert caught.value.reason is Reason.TRAINING_DATA


def test_earlier_cases_count_as_labelled(home: Path) -> None:
    """All weights are tuned on the labels there are; an organ that no held-out case has is named, and refuses only
    where the version answers for it."""
    trained(plan(home))
    some = Data(
        entries(range(4), ("liver",)), entries(range(100, 102), ("liver",)), {}, entries(range(4, 8), ORGANS[:2])
    )
    whole = plan(home, organs=ORGANS[:2], answers_for=("liver",), goes_on=True, seed=2, margin=1.0)
    result = job.train(whole, some, ALONE)
    assert result is not None
    assert (result.promoted, result.reasons) == (True, ())
    assert [note.partition(",")[0] for note in result.notes] == [
        "No held-out case has spleen",
        "No held-out case has pancreas",
    ]
    assert job.train(whole, some, ALONE) == result
    asked = job.train(replace(whole, answers_for=ORGANS[:2]), some, ALONE)
    assert asked is not None
    assert asked.reasons == ("No held-out case has spleen, which was tuned.",)
    only_earlier = replace(whole, organs=("spleen",), heads=("spleen",), answers_for=())
    assert job.train(only_earlier, some, ALONE) is not None


def test_a_loss_that_is_not_finite_leaves_the_checkpoint(home: Path) -> None:
    """What was learned before stays, and no version comes of it."""
    with pytest.raises(AtlasError, match="The loss is") as caught:
        trained(plan(home, rate=1e30, budget=Budget(9, None, 1, 1)))
    assert caught.value.reason is Reason.TRAINING_FAILED
    (run,) = (home / "runs").iterdir()
    state = checkpoints.load(run / "checkpoint.pt", torch.device("cpu"))
    assert state is not None
    assert state["epoch"] == len(curves.read(run)) >= 1
    assert load_card(home / "small").weights is None


def test_gradients_that_are_not_finite_change_nothing(home: Path) -> None:
    """One such step is left out; a run that has no others is ended, with the weights that it had."""
    card = load_card(home / "small")
    run = Run(build_network(card), card, 1e-2)
    crop = Sampler([box_case(1, ORGANS)], card, 1).draw(0, [0], 1)
    first = next(run.network.parameters())
    before = first.detach().clone()
    spoilt = first.register_hook(lambda gradient: gradient * torch.nan)  # type: ignore[no-untyped-call]
    run.step(crop, 0.5)
    assert torch.equal(first, before)
    spoilt.remove()
    run.step(crop, 0.5)
    assert not torch.equal(first, before)
    before = first.detach().clone()
    first.register_hook(lambda gradient: gradient * torch.nan)  # type: ignore[no-untyped-call]
    for _ in range(3):
        run.step(crop, 0.5)
    with pytest.raises(AtlasError, match="gradients of 4 steps in a row") as caught:
        run.step(crop, 0.5)
    assert caught.value.reason is Reason.TRAINING_FAILED
    assert torch.equal(first, before)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoints.save(path, {"epoch": 1})
    (tmp_path / "checkpoint.pt.part").symlink_to("/dev/full")
    with pytest.raises(AtlasError, match=r"no room left.*Make room") as caught:
        checkpoints.save(path, {"epoch": 2})
    assert caught.value.reason is Reason.DISK_FULL
    assert checkpoints.load(path, torch.device("cpu")) == {"epoch": 1}


def test_by_minutes_a_run_can_be_prolonged(home: Path) -> None:
    """The second run takes up the first one's clock and steps."""
    first = plan(home, replaces=True, budget=Budget(None, 0.002, STEPS, 1))
    trained(first)
    steps = (load_card(home / "small").trained_on or {})["steps"]
    trained(plan(home, replaces=True, budget=Budget(None, 0.01, STEPS, 1)))
    assert (load_card(home / "small").trained_on or {})["steps"] > steps > 0


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(progress, 1e-3) for progress in (0, 0.015, 0.03, 0.5, 1, 1.5)]
    assert rates[0] < rates[1] < rates[2] == pytest.approx(1e-3)
    assert rates[2] > rates[3] > rates[4] == pytest.approx(1e-5)
    assert rates[5] == rates[4]


def _events(data: bytes) -> list[Event]:
    """TensorBoard's records: length, checksum, event, checksum."""
    events = []
    while data:
        (length,) = struct.unpack_from("<Q", data)
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return events

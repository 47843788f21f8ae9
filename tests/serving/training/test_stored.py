"""Training on what a real storage has: whose labels count, what is held out, and a tuning as a process."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core import modelversions
from services.core.geometry import Geometry
from services.core.storage import Storage
from services.scheduler.training_processes import TrainingProcesses
from services.scheduler.trainings import State
from services.serving.card import Card, load_version
from services.serving.training import selection, stored
from tests.components.case import Case, new_case
from tests.components.processes import wait_until
from tests.inference.conftest import service
from tests.serving.training.boxes import plan, trained

SHAPE = (24, 30, 28)
CT = Geometry.from_matrix(SHAPE[::-1], np.diag([-2.0, 2.0, 3.0, 1.0]))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A storage of this module's own."""
    folder = tmp_path_factory.mktemp("storage")
    settings = {"objects": f"file:{folder}/objects", "database_url": f"sqlite:///{folder}/catalog.db"}
    with service("storage", folder, **settings) as process:
        yield process.address


@pytest.fixture(scope="module")
def storage(address: str) -> Storage:
    return Storage(address)


def box(*corner: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    mask = np.zeros(SHAPE, np.uint8)
    mask[tuple(slice(start, start + 12) for start in corner)] = 1
    return mask


@pytest.fixture(scope="module")
def volumes(storage: Storage) -> list[Case]:
    """Eight volumes: sources labelled liver and spleen of each, reviewers revised the spleen of the even ones."""
    cases = [new_case(storage, f"volume-{number}", CT, seed=number) for number in range(8)]
    for number, case in enumerate(cases):
        case.label(pb.ORIGIN_SOURCE, {"liver": box(2, 2, 2), "spleen": box(8, 8, 8)}, author="source")
        if number % 2 == 0:
            case.label(pb.ORIGIN_REVISION, {"spleen": box(8, 10, 12)}, author="reader")
    return cases


def test_people_count_and_the_newest_of_them_first(storage: Storage, volumes: list[Case], card: Card) -> None:
    """A revision goes before the source, organ by organ; what nobody labelled is unknown."""
    first, second = stored.labelled(storage, card, [case.volume.name for case in volumes[:2]])
    assert (set(first.revised), set(second.revised)) == ({"spleen"}, set())
    authors = {organ: version.author for organ, version in first.versions.items()}
    assert authors == {"liver": "source", "spleen": "reader"}
    entry = stored.entry(storage, card, first)
    assert set(entry.organs) == {"liver", "spleen"}, "the pancreas is unknown"
    assert entry.key != stored.entry(storage, card, second).key


def test_a_case_lies_as_its_ct_does(storage: Storage, volumes: list[Case], card: Card) -> None:
    """The CT's first axis runs to the left: on the working grid the masks keep volume and place."""
    (labelled,) = stored.labelled(storage, card, [volumes[0].volume.name])
    case = stored.entry(storage, card, labelled).make()
    voxel_mm3 = (card.grid_spacing_mm * card.working_factor) ** 3
    for organ, corner in (("liver", (2, 2, 2)), ("spleen", (8, 10, 12))):
        mask = case.mask(organ)
        assert mask.sum() * voxel_mm3 == pytest.approx(12**3 * 12, rel=0.15)
        centre = np.array(np.nonzero(mask)).mean(1) / case.ct.shape
        expected = (np.array(corner) + 6) / SHAPE
        expected[2] = 1 - expected[2]
        np.testing.assert_allclose(centre, expected, atol=0.05)


def test_what_is_held_out_stays_so(storage: Storage, volumes: list[Case], card: Card) -> None:
    """By the voxels, so in every selection the same ones; training and tuning never see them."""
    everything = selection.labelled(storage, card, None, 0.5)
    data, organs = selection.revisions(storage, card, None, 0.5)
    held_out = {entry.key for entry in everything.held_out}
    assert 0 < len(held_out) < len(volumes)
    assert organs == ("spleen",)
    assert {entry.key for entry in data.held_out} == held_out
    assert held_out.isdisjoint(entry.key for entry in (*everything.cases, *data.cases, *data.replay))
    assert len(data.cases) + len(data.replay) + len(held_out) == len(volumes)


def test_a_withdrawn_volume_is_left_out(storage: Storage, volumes: list[Case], card: Card) -> None:
    lost = new_case(storage, "withdrawn", CT, seed=99)
    lost.label(pb.ORIGIN_SOURCE, {"liver": box(2, 2, 2)}, author="source")
    storage.rpc.WithdrawVolume(pb.WithdrawVolumeRequest(name=lost.volume.name, reason="consent", author="ann"))
    assert {case.volume.name for case in stored.labelled(storage, card)} == {case.volume.name for case in volumes}


def test_a_tuning_is_a_process_of_its_own(address: str, volumes: list[Case], home: Path) -> None:
    """Started twice it is one; its last words are the new version; forgotten and started again it finds that."""
    trained(plan(home))
    folder = home / "small"
    runner = TrainingProcesses(home, home / "trainings", {"ATLAS_STORAGE": address, "OMP_NUM_THREADS": "1"})
    words = ["tune", str(folder), "--epochs", "1", "--steps", "2", "--held-out", "0.5", "--margin", "1", "--seed", "0"]
    training = runner.start({"model": "models/small"}, words, "ann")
    assert runner.start({"model": "models/small"}, words, "ann").id == training.id
    wait_until(lambda: runner.get(training.id).state != State.RUNNING, "the tuning", 300)
    done = runner.get(training.id)
    assert done.state == State.DONE, done.message
    assert json.loads(done.message) == {"model": "small", "version": 2, "promoted": True, "reasons": []}
    assert modelversions.numbers(folder) == [1, 2]
    facts = load_version(folder, 2).trained_on
    assert facts is not None
    assert (facts["organs"], facts["changed"]) == ("spleen", "heads")
    runner.cancel(training.id)
    assert runner.all() == []
    assert not (home / "trainings" / training.id).exists()


def test_a_training_that_fails_says_why(home: Path) -> None:
    """And one that was killed goes on when it is started again."""
    runner = TrainingProcesses(home, home / "trainings", {"ATLAS_STORAGE": "127.0.0.1:1"})
    training = runner.start({}, ["tune", str(home / "small")], "ann")
    runner.stop()
    stopped = runner.get(training.id)
    assert (stopped.state, stopped.message[:26]) == (State.FAILED, "It was ended from outside;")
    runner.start({}, ["tune", str(home / "small")], "ann")
    wait_until(lambda: runner.get(training.id).state != State.RUNNING, "the failure", 300)
    assert runner.get(training.id).state == State.FAILED
    assert "does not answer" in runner.get(training.id).message

"""Training on what a real storage has: whose labels count, what is held out, and a tuning as a process."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from abdomenatlas.merging.v1.merging_pb2 import MergeRequest
from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1.merge_pb2 import MergePolicy
from services.core import modelversions
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.memory import MemoryGate
from services.core.storage import Storage
from services.core.turns import Turns
from services.merging.merge import merge
from services.scheduler.training_processes import TrainingProcesses
from services.scheduler.trainings import State
from services.serving.card import Card, load_version
from services.serving.training import selection, stored
from services.synthetic import make_case
from tests.components.case import Case, new_case, nifti
from tests.components.processes import wait_until
from tests.inference.conftest import service
from tests.serving.training.boxes import plan, trained

IntArray = npt.NDArray[np.int16]
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


NOTES = ["pancreas was revised in held-out volumes only, so it is not tuned."]


def box(*corner: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    mask = np.zeros(SHAPE, np.uint8)
    mask[tuple(slice(start, start + 12) for start in corner)] = 1
    return mask


def decide(case: Case, *revisions: str, readers: MergePolicy.Readers.ValueType = MergePolicy.READERS_LATEST) -> None:
    """Merge these revisions, as a review that decided on the last one does."""
    request = MergeRequest(volume=case.volume.name, label_versions=revisions, policy=MergePolicy(readers=readers))
    merge(case.storage, MemoryGate(1 << 30), Turns(), request, lambda stage, fraction: None)


@pytest.fixture(scope="module")
def volumes(storage: Storage) -> list[Case]:
    """Eight volumes: sources labelled the liver of each and the spleen of the odd ones, reviewers revised the spleen of
    the even ones, and once the liver."""
    cases = [new_case(storage, f"volume-{number}", CT, seed=number) for number in range(8)]
    for number, case in enumerate(cases):
        spleen = {"spleen": box(8, 8, 8)}
        case.label(pb.ORIGIN_SOURCE, {"liver": box(2, 2, 2)} | (spleen if number % 2 else {}), author="source")
        if number % 2 == 0:
            decide(case, case.label(pb.ORIGIN_REVISION, spleen, author="reader"))
    newer = cases[0].label(pb.ORIGIN_REVISION, {"liver": box(4, 4, 4), "spleen": box(8, 10, 12)}, author="reader")
    decide(cases[0], newer)
    return cases


def test_the_source_counts_first_and_then_the_newest_revision(
    storage: Storage, volumes: list[Case], card: Card
) -> None:
    """As in a merge: a revision of what the source labelled changes nothing; what nobody labelled is unknown."""
    first, second = stored.labelled(storage, card, [case.volume.name for case in volumes[:2]])
    assert (set(first.revised), set(second.revised)) == ({"spleen"}, set())
    authors = {organ: version.author for organ, version in first.versions.items()}
    assert authors == {"liver": "source", "spleen": "reader"}
    assert first.versions["spleen"].organs[0].organ == "liver", "the newer of the two revisions"
    entry = stored.entry(storage, card, first)
    assert set(entry.organs) == {"liver", "spleen"}, "the pancreas is unknown"
    assert entry.key != stored.entry(storage, card, second).key


def test_a_revision_that_no_review_decided_on_teaches_nothing(storage: Storage, card: Card) -> None:
    """Side versions, late or unmergeable, are in storage like any other, and no merge names them."""
    case = new_case(storage, "side", CT, seed=78)
    decide(case, decided := case.label(pb.ORIGIN_REVISION, {"spleen": box(8, 8, 8)}, author="ann"))
    case.label(pb.ORIGIN_REVISION, {"spleen": box(2, 2, 2), "liver": box(4, 4, 4)}, author="ben")
    (labelled,) = stored.labelled(storage, card, [case.volume.name])
    withdraw(case)
    assert {organ: version.name for organ, version in labelled.versions.items()} == {"spleen": decided}
    assert labelled.revised == {"spleen"}


def test_of_two_revisions_the_one_that_the_newest_merge_took_is_learned(storage: Storage, card: Card) -> None:
    """Not the one that was uploaded last; an organ that only the earlier one has stays its."""
    case = new_case(storage, "again", CT, seed=79)
    first = case.label(pb.ORIGIN_REVISION, {"spleen": box(8, 8, 8)}, author="ann")
    second = case.label(pb.ORIGIN_REVISION, {"spleen": box(8, 10, 12), "liver": box(4, 4, 4)}, author="ben")
    decide(case, second)
    decide(case, second, first)
    (labelled,) = stored.labelled(storage, card, [case.volume.name])
    decide(case, first, second, readers=MergePolicy.READERS_MAJORITY)
    (together,) = stored.labelled(storage, card, [case.volume.name])
    withdraw(case)
    assert {organ: version.author for organ, version in labelled.versions.items()} == {"spleen": "ann", "liver": "ben"}
    assert together.versions["spleen"].name == second, "the newest of the readers who were brought together"


def withdraw(case: Case) -> None:
    request = pb.WithdrawVolumeRequest(name=case.volume.name, reason="test", author="ann")
    case.storage.rpc.WithdrawVolume(request)


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


def test_what_was_revised_in_held_out_volumes_only_is_not_learned(
    storage: Storage, volumes: list[Case], card: Card
) -> None:
    """The rest is, and the note names what is not; where nothing is left that is said, not that nobody revised."""
    held = [one for one in stored.labelled(storage, card) if one.revised and one.is_held_out(0.5)]
    assert held
    lonely = next(case for case in volumes if case.volume.name == held[0].volume.name)
    decide(lonely, lonely.label(pb.ORIGIN_REVISION, {"pancreas": box(10, 2, 2)}))
    data, organs = selection.revisions(storage, card, None, 0.5)
    assert organs == ("spleen",)
    assert data.notes == ("pancreas was revised in held-out volumes only, so it is not tuned.",)
    with pytest.raises(AtlasError, match="Every volume in which an organ was revised is held out") as caught:
        selection.revisions(storage, card, [one.volume.name for one in held], 0.5)
    assert caught.value.reason is Reason.TRAINING_DATA


def test_a_whole_tuning_learns_what_is_labelled(address: str, volumes: list[Case], home: Path, card: Card) -> None:
    """Nobody labelled the pancreas of a case to learn from: the other organs are learned, and it says so."""
    trained(plan(home))
    runner = TrainingProcesses(home, home / "trainings", {"ATLAS_STORAGE": address, "OMP_NUM_THREADS": "1"})
    words = ["tune", str(home / "small"), "--whole", "--epochs", "1", "--steps", "2", "--held-out", "0.5"]
    training = runner.start({"model": "models/small"}, words, "ann")
    wait_until(lambda: runner.get(training.id).state != State.RUNNING, "the tuning", 300)
    done = runner.get(training.id)
    assert done.state == State.DONE, done.message
    said = json.loads(done.message)
    assert said["version"] == 2
    assert "No case to learn from is labelled for pancreas." in said["notes"]
    facts = load_version(home / "small", 2).trained_on
    assert facts is not None
    assert (facts["organs"], facts["changed"]) == ("liver, spleen", "all weights")


def test_copies_of_a_scan_share_its_lot(tmp_path: Path, card: Card) -> None:
    """Moved, cropped and compressed: a copy is never trained on where the scan is held out, whatever comes in later."""
    (tmp_path / "storage").mkdir()
    settings = {"objects": f"file:{tmp_path}/objects", "database_url": f"sqlite:///{tmp_path}/catalog.db"}
    with service("storage", tmp_path / "storage", **settings) as process:
        storage = Storage(process.address)
        lots: dict[str, set[str]] = {}
        for patient in range(3):
            scan = make_case(40 + patient, profile="training")
            for kind, (ct, geometry) in copies(scan.ct, scan.geometry).items():
                file = nifti(ct, geometry)
                request = pb.CreateVolumeRequest(volume_id=f"{kind}-{patient}", object=storage.put(file).name)
                case = Case(storage, storage.rpc.CreateVolume(request).volume)
                case.label(pb.ORIGIN_SOURCE, {"liver": np.ones(geometry.array_shape, np.uint8)})
            for labelled in stored.labelled(storage, card):
                lots.setdefault(labelled.volume.name.rpartition("-")[2], set()).add(labelled.scan)
        assert {patient: len(scans) for patient, scans in lots.items()} == {"0": 1, "1": 1, "2": 1}
        assert len(set.union(*lots.values())) == 3
        # The first one's lot stays, even without it.
        first = pb.WithdrawVolumeRequest(name="volumes/whole-0", reason="consent", author="ann")
        storage.rpc.WithdrawVolume(first)
        left = [found for found in stored.labelled(storage, card) if found.volume.name.endswith("-0")]
        assert len(left) == 3
        assert {found.scan for found in left} == lots["0"]


def copies(ct: IntArray, geometry: Geometry) -> dict[str, tuple[IntArray, Geometry]]:
    """A scan, one with a moved header, one without its lowest slices, and one as lossy compression leaves it."""
    columns, rows, depth = geometry.shape
    moved = geometry.matrix.copy()
    moved[:3, 3] += (7, -3, 40)
    cut = Geometry.from_matrix((columns, rows, depth - 6), geometry.matrix)
    lossy = ct + np.random.default_rng(0).integers(-3, 4, ct.shape).astype(np.int16)
    return {
        "whole": (ct, geometry),
        "moved": (ct, Geometry.from_matrix((columns, rows, depth), moved)),
        "cut": (np.ascontiguousarray(ct[6:]), cut),
        "lossy": (lossy, geometry),
    }


def test_labels_of_another_class_map_count_by_organ(storage: Storage, card: Card) -> None:
    """Organs mean the same in every class map; one that the card has not is left out."""
    case = new_case(storage, "newer-map", CT, seed=77)
    case.label(pb.ORIGIN_SOURCE, {"spleen": box(2, 2, 2), "colon": box(8, 8, 8)}, class_map="abdomenatlas-1.1")
    (labelled,) = stored.labelled(storage, card, [case.volume.name])
    storage.rpc.WithdrawVolume(pb.WithdrawVolumeRequest(name=case.volume.name, reason="test", author="ann"))
    assert set(labelled.versions) == {"spleen"}
    assert stored.entry(storage, card, labelled).make().mask("spleen").any()


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
    assert json.loads(done.message) == {"model": "small", "version": 2, "promoted": True, "reasons": [], "notes": NOTES}
    assert modelversions.numbers(folder) == [1, 2]
    facts = load_version(folder, 2).trained_on
    assert facts is not None
    assert (facts["organs"], facts["changed"]) == ("spleen", "heads")
    runner.cancel(training.id)
    assert runner.all() == []
    assert not (home / "trainings" / training.id).exists()


def test_a_training_that_fails_says_why(home: Path) -> None:
    """And one that was killed goes on when it is started again, by the next scheduler."""
    ended, runner = (TrainingProcesses(home, home / "trainings", {"ATLAS_STORAGE": "127.0.0.1:1"}) for _ in range(2))
    training = ended.start({}, ["tune", str(home / "small")], "ann")
    ended.stop()
    stopped = runner.get(training.id)
    assert (stopped.state, stopped.message[:26]) == (State.FAILED, "It was ended from outside;")
    runner.start({}, ["tune", str(home / "small")], "ann")
    wait_until(lambda: runner.get(training.id).state != State.RUNNING, "the failure", 300)
    assert runner.get(training.id).state == State.FAILED
    assert "does not answer" in runner.get(training.id).message

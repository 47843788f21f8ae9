"""Label files on their way into the catalog."""

import hashlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core import datasets, nifti
from services.core.datasets import Dataset
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.names import content_id
from services.storage.label_import import _occurring
from tests.components.peak import measure
from tests.storage import files
from tests.storage.noise import Watched
from tests.storage.world import World

nib: Any = nibabel
LIVER, SPLEEN = files.ball(5), files.ball(3, (5, 14, 18))


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.volume()
    return world


def refusal(action: Any, *args: Any, **kwargs: Any) -> AtlasError:
    with pytest.raises(AtlasError) as caught:
        action(*args, **kwargs)
    return caught.value


def label_map(dtype: Any = np.uint8) -> npt.NDArray[Any]:
    """Liver 5 and spleen 8 in one map; where they overlap, spleen."""
    labels = np.zeros(files.GEOMETRY.array_shape, dtype)
    labels[LIVER > 0] = 5
    labels[SPLEEN > 0] = 8
    return labels


def knowing(dataset: Dataset) -> Callable[[str], Dataset]:
    """`datasets.load` with another file for one dataset."""
    load = datasets.load
    return lambda name: dataset if name == dataset.name else load(name)


def moved(**changes: float) -> Geometry:
    matrix = files.GEOMETRY.matrix
    matrix[0, 3] += changes.get("x", 0)
    matrix[0, 0] *= changes.get("flip", 1)
    return Geometry.from_matrix(files.GEOMETRY.shape, matrix)


def test_masks_become_channels_in_order_of_the_class_map(world: World) -> None:
    version = world.import_masks(("spleen", files.mask(SPLEEN)), ("liver", files.mask(LIVER)))
    masks = world.masks(version)
    assert list(masks) == ["liver", "spleen"]
    np.testing.assert_array_equal(masks["liver"], LIVER)
    np.testing.assert_array_equal(masks["spleen"], SPLEEN)
    assert (LIVER & SPLEEN).any(), "organs may overlap, and these do"
    assert [(o.organ, o.origin, o.voxels) for o in version.organs] == [
        ("liver", pb.ORIGIN_SOURCE, LIVER.sum()),
        ("spleen", pb.ORIGIN_SOURCE, SPLEEN.sum()),
    ]
    assert version.organs[0].volume_mm3 == pytest.approx(LIVER.sum() * 0.8 * 0.8 * 2)
    assert (version.author, version.class_map) == ("amos22", "abdomenatlas-1.0")
    assert world.records.label_versions.get(version.name) == version


def test_the_same_files_by_a_mended_map_give_another_version(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one stays, and the new one says by which map it was read."""
    given = ("", nifti.encode(label_map(), files.GEOMETRY), "labels.nii.gz")
    text = (
        "name: lits\nversion: {}\ntitle: T\nsource: s\nlicence: l\nlayouts: [{{images: 'img/{{case}}'}}]\n"
        "labels: {{5: {}, 8: other}}\n"
    )
    made = {}
    for number, organ in ((1, "spleen"), (2, "liver")):
        dataset = datasets.parse(text.format(number, organ))
        monkeypatch.setattr(datasets, "load", knowing(dataset))
        made[number] = world.import_files(given, dataset_map="lits")
        assert (made[number].dataset_map, made[number].dataset_map_version) == ("lits", number)
        assert world.import_files(given, dataset_map="lits") == made[number]
    assert made[1].name != made[2].name
    assert [list(world.masks(version)) for version in made.values()] == [["spleen"], ["liver"]]
    assert world.import_files(given, looked_for=("liver", "spleen")).dataset_map_version == 0


def test_the_same_files_in_any_order_give_the_same_version(world: World) -> None:
    first = world.import_masks(("spleen", files.mask(SPLEEN)), ("liver", files.mask(LIVER)))
    assert world.import_masks(("liver", files.mask(LIVER)), ("spleen", files.mask(SPLEEN))) == first
    assert world.import_masks(("liver", files.mask(LIVER))).name != first.name
    assert world.import_files(("liver", files.mask(LIVER), "x"), author="other").name != first.name


def test_an_empty_mask_says_that_somebody_looked(world: World) -> None:
    version = world.import_masks(("pancreas", files.mask(np.zeros_like(LIVER))))
    assert [(o.organ, o.voxels) for o in version.organs] == [("pancreas", 0)]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_a_label_map_is_taken_apart(world: World, dtype: Any) -> None:
    version = world.import_masks(("", nifti.encode(label_map(dtype), files.GEOMETRY)))
    masks = world.masks(version)
    assert list(masks) == ["liver", "spleen"]
    np.testing.assert_array_equal(masks["liver"], LIVER & ~SPLEEN & 1)
    np.testing.assert_array_equal(masks["spleen"], SPLEEN)


def test_organs_looked_for_are_absent_and_not_unknown(world: World) -> None:
    data = nifti.encode(label_map(), files.GEOMETRY)
    version = world.import_files(("", data, "l.nii.gz"), looked_for=("pancreas", "spleen", "liver"))
    assert [(o.organ, bool(o.voxels)) for o in version.organs] == [
        ("liver", True),
        ("pancreas", False),
        ("spleen", True),
    ]
    error = refusal(world.import_files, ("", data, "l.nii.gz"), looked_for=("pancreas", "liver"))
    assert error.reason == Reason.FIELD_INVALID
    assert "spleen" in error.message


def test_a_label_map_and_masks_go_together_unless_they_share_an_organ(world: World) -> None:
    data, kidney = nifti.encode(label_map(), files.GEOMETRY), files.mask(files.ball(2))
    version = world.import_masks(("", data), ("kidney_left", kidney))
    assert [o.organ for o in version.organs] == ["kidney_left", "liver", "spleen"]
    error = refusal(world.import_masks, ("", data), ("liver", files.mask(LIVER)))
    assert error.reason == Reason.FIELD_INVALID
    assert "liver" in error.message


def test_ids_that_the_class_map_does_not_know_are_listed(world: World) -> None:
    labels = label_map(np.int16)
    labels[0, 0, :3] = 77, 300, 12
    error = refusal(world.import_masks, ("", nifti.encode(labels, files.GEOMETRY)))
    assert error.reason == Reason.LABEL_UNKNOWN
    assert "12, 77, 300" in error.message
    assert error.field == "combined_labels.nii.gz"
    known = world.import_files(
        ("", nifti.encode(np.where(labels == 12, 12, 0).astype(np.uint8), files.GEOMETRY), "x"),
        class_map="abdomenatlas-1.1",
    )
    assert [o.organ for o in known.organs] == ["bladder"]


@pytest.mark.parametrize(
    ("given", "reason", "field"),
    [
        ([("hepar", files.mask(LIVER))], Reason.ORGAN_UNKNOWN, "hepar.nii.gz"),
        ([("liver", files.mask(LIVER + LIVER + SPLEEN))], Reason.MASK_NOT_BINARY, "liver.nii.gz"),
        ([("liver", files.mask(LIVER)[:-30])], Reason.FILE_TRUNCATED, "liver.nii.gz"),
        ([("liver", b"version https://git-lfs")], Reason.FILE_NOT_NIFTI, "liver.nii.gz"),
        ([("liver", files.mask(LIVER)), ("liver", files.mask(SPLEEN))], Reason.FIELD_INVALID, "files"),
        ([("", files.mask(LIVER)), ("", files.mask(SPLEEN))], Reason.FIELD_INVALID, "combined_labels.nii.gz"),
        ([], Reason.FIELD_REQUIRED, "files"),
    ],
)
def test_bad_files_are_refused_by_name(world: World, given: Any, reason: Reason, field: str) -> None:
    error = (
        refusal(world.import_masks, ("spleen", files.mask(SPLEEN)), *given) if given else refusal(world.import_masks)
    )
    assert (error.reason, error.field) == (reason, field)
    assert not world.records.label_versions.page("volumes/case", 0, "", "List")[0]


@pytest.mark.parametrize(
    "geometry",
    [moved(x=0.8), moved(x=4), Geometry.from_matrix((24, 20, 15), files.AFFINE)],
)
def test_a_label_on_another_grid_is_refused_naming_both(world: World, geometry: Geometry) -> None:
    data = files.mask(np.ones(geometry.array_shape, np.uint8), geometry)
    for organ in ("liver", ""):
        error = refusal(world.import_masks, (organ, data))
        assert error.reason == Reason.GEOMETRY_MISMATCH
        assert error.field == f"{organ or 'combined_labels'}.nii.gz"
        assert "volumes/case" in error.message
        assert str(geometry) in error.message
        assert str(files.GEOMETRY) in error.message


@pytest.mark.parametrize("geometry", [moved(x=200), moved(flip=-1)])
def test_a_header_that_puts_a_label_outside_of_its_ct_is_not_followed(world: World, geometry: Geometry) -> None:
    data = files.mask(LIVER, geometry)
    hu = np.where(LIVER > 0, 60, files.hounsfield()).astype(np.int16)
    world.volume(nifti.encode(hu, files.GEOMETRY), "shown")
    version = world.import_masks(("liver", data), parent="volumes/shown")
    np.testing.assert_array_equal(world.masks(version)["liver"], LIVER)
    error = refusal(world.import_masks, ("liver", data))
    assert error.reason == Reason.GEOMETRY_MISMATCH, "another CT shows nothing there"
    assert any("outside the CT" in note for note in version.notes)


def test_rounding_in_a_header_is_tolerated_and_noted(world: World) -> None:
    version = world.import_masks(("liver", files.mask(LIVER, moved(x=0.001))))
    assert any("rounding" in note for note in version.notes)
    assert version.masks.geometry.digest == files.GEOMETRY.digest


def test_what_was_odd_is_noted_with_the_files_name(world: World) -> None:
    version = world.import_masks(("liver", files.mask(LIVER * np.uint8(255))))
    np.testing.assert_array_equal(world.masks(version)["liver"], LIVER)
    assert version.notes[0].startswith("liver.nii.gz: ")


def test_notes_hold_no_name_of_a_file_which_may_be_a_patients(world: World) -> None:
    """A refusal goes to who sent the file, and names it as they do; notes are released."""
    folder, near = "Doe_Jane_1970-01-01", moved(x=0.001)
    odd = (
        ("liver", files.mask(LIVER * np.uint8(255), near), f"{folder}/segmentations/liver.nii.gz"),
        ("", nifti.encode(SPLEEN, near), f"labelsTr/{folder}.nii.gz"),
    )
    told = [note for file in odd for note in world.import_files(file).notes]
    assert [note.split(":")[0] for note in told] == ["liver.nii.gz", "liver.nii.gz", "label map"]
    assert not any("Doe" in note for note in told)
    error = refusal(world.import_files, ("liver", b"nothing", f"{folder}/liver.nii.gz"))
    assert error.field == f"{folder}/liver.nii.gz"


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"origin": pb.ORIGIN_AI}, Reason.FIELD_INVALID, "origin"),
        ({"author": ""}, Reason.FIELD_REQUIRED, "author"),
        ({"class_map": "nobody-9"}, Reason.CLASS_MAP_MISMATCH, "class_map"),
        ({"looked_for": ("hepar",)}, Reason.ORGAN_UNKNOWN, "looked_for"),
        ({"parent": "volumes/nowhere"}, Reason.RESOURCE_NOT_FOUND, "parent"),
        ({"parent": "volumes/../x"}, Reason.NAME_INVALID, "parent"),
    ],
)
def test_requests_that_make_no_sense_are_refused(world: World, change: Any, reason: Reason, field: str) -> None:
    error = refusal(world.import_files, ("liver", files.mask(LIVER), "liver.nii.gz"), **change)
    assert (error.reason, error.field) == (reason, field)


def test_labels_larger_than_the_memory_are_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.volume()
    poor = World(tmp_path, memory_bytes=2**20)
    assert refusal(poor.import_masks, ("liver", files.mask(LIVER))).reason == Reason.VOLUME_TOO_LARGE


@pytest.mark.parametrize("worst", ["noise", "noisy_pair"])
def test_noise_stays_within_what_is_declared(worst: str) -> None:
    measured = measure(f"tests.storage.{worst}")
    assert measured.growth < measured.bound


def test_looking_for_ids_needs_no_memory_to_speak_of() -> None:
    """The whole map turned into machine words would be eight times the map."""
    labels = np.zeros((64, 256, 256), np.uint8)
    labels[-1, -1, -1] = 5
    tracemalloc.start()
    try:
        assert _occurring(labels) == [0, 5]
        assert tracemalloc.get_traced_memory()[1] < labels.nbytes / 2
    finally:
        tracemalloc.stop()


def test_what_is_declared_covers_the_growing_array_file(tmp_path: Path) -> None:
    """An import of many masks needs more than its largest file."""
    world = World(tmp_path)
    world.volume()
    one, nine = Watched(2**30), Watched(2**30)
    World(tmp_path, gate=one).import_masks(("liver", files.mask(LIVER)))
    World(tmp_path, gate=nine).import_masks(("liver", files.mask(LIVER)), ("spleen", files.mask(SPLEEN)))
    assert nine.most - one.most == files.GEOMETRY.voxel_count


def test_a_mask_whose_qform_is_the_cts_grid_is_read_by_it(world: World) -> None:
    """Also where its sform would be taken alone: it lies in the CT, moved by whole voxels."""
    image = nib.Nifti1Image(LIVER.transpose(), moved(x=1.6).matrix)
    image.set_sform(moved(x=1.6).matrix, code=1)
    image.set_qform(files.GEOMETRY.matrix, code=1)
    version = world.import_masks(("liver", bytes(image.to_bytes())))
    np.testing.assert_array_equal(world.masks(version)["liver"], LIVER)
    told = " ".join(version.notes)
    assert "the qform, which is the CT's own grid, was taken" in told
    assert str(files.GEOMETRY) in told
    assert str(moved(x=1.6)) in told


def test_a_tumour_in_any_organ_counts_as_the_organ_that_it_touches_most(world: World) -> None:
    """FLARE 2023: label 14 in the liver (1) leaves no hole in it, and one that touches nothing is nobody's."""
    labels = np.where(LIVER > 0, 1, 0).astype(np.uint8)
    labels[files.ball(2) > 0] = 14
    labels[15, 19, 22:] = 14
    version = world.import_files(("", nifti.encode(labels, files.GEOMETRY), "l.nii.gz"), dataset_map="flare23")
    np.testing.assert_array_equal(world.masks(version)["liver"], LIVER)
    assert [(o.organ, list(o.structures)) for o in version.organs] == [("liver", ["liver", "tumor"])]
    inside = int(files.ball(2).sum())
    assert f"tumor of {inside} voxels counts as liver, which shares 100% of its surface." in version.notes
    assert "tumor of 2 voxels touches no organ and was left out." in version.notes


def test_a_tumour_in_an_organ_that_the_version_does_not_have_is_told_so(world: World) -> None:
    """The class map has no duodenum (12)."""
    labels = np.where(LIVER > 0, 12, 0).astype(np.uint8)
    labels[files.ball(2) > 0] = 14
    labels[15, 0, 0] = 1
    version = world.import_files(("", nifti.encode(labels, files.GEOMETRY), "l.nii.gz"), dataset_map="flare23")
    assert [organ.organ for organ in version.organs] == ["liver"]
    inside = int(files.ball(2).sum())
    told = f"tumor of {inside} voxels counts as duodenum, which shares 100% of its surface and which is not taken."
    assert told in version.notes


def test_files_that_are_there_already_are_checked_against_their_ct_too(world: World) -> None:
    volume = world.volumes.get("volumes/case")
    given = ("liver", files.mask(LIVER), "liver.nii.gz")
    version = world.import_files(given, voxel_digest=volume.voxel_digest)
    assert world.import_files(given) == version
    error = refusal(world.import_files, given, voxel_digest="0" * 64)
    assert (error.reason, error.field) == (Reason.FIELD_INVALID, "voxel_digest")
    case = pb.ImportCaseRequest(volume_id="case", volume=pb.CreateVolumeRequest(object=volume.ct.name))
    case.labels.author, case.labels.voxel_digest = "amos22", "0" * 64
    case.labels.files.add(object=world.blobs.put(given[1]).name, organ="liver", display_name="liver.nii.gz")
    assert refusal(world.cases.run, case).field == "voxel_digest"
    case.labels.voxel_digest = volume.voxel_digest
    assert world.cases.run(case) == (volume, version)


def test_a_map_in_its_first_version_leaves_ids_as_they_were(world: World) -> None:
    """Files that came before maps had versions are the same label version when they come again."""
    mask, labels = files.mask(LIVER), nifti.encode(label_map(), files.GEOMETRY)
    came = ("import", "case", "ORIGIN_SOURCE", "amos22", "abdomenatlas-1.0")
    plain = content_id(*came, f"liver={hashlib.sha256(mask).hexdigest()}")
    assert world.import_files(("liver", mask, "")).name == f"volumes/case/labels/{plain}"
    mapped = content_id(*came, "btcv", f"={hashlib.sha256(labels).hexdigest()}")
    made = world.import_files(("", labels, ""), dataset_map="btcv")
    assert made.name == f"volumes/case/labels/{mapped}"

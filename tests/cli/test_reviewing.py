"""A claim folder holds what a reviewer needs, and only what changed goes back."""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import nibabel
import numpy as np
import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.connection import Connection
from services.cli.reviewing import NOTE, Note, changed_masks, download, drawn_on, fill, mask_files, upload_revision
from services.core import classmaps
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.nifti import encode, read_ct, read_header, read_labels, read_mask, write_mask
from services.core.storage import Storage
from tests.cli.archive import Archive

ORGANS = classmaps.load()
nib: Any = nibabel  # its types are partial

UNTAKEN = (
    "segmentations/liver.nrrd",
    "segmentations/Segmentation.seg.nrrd",
    "segmentations/liver.mha",
    "segmentations/LIVER.NII.GZ",
    "segmentations/lever.nii.gz",
    "segmentations/edited/",
    "segmentations/stomach.nii.gz/",
    "Segmentation.nii.gz",
    "liver_edited.nii.gz",
    "combined_labels.nii.gz",
    "edited/",
)
LEFT_BEHIND = (".DS_Store", "._liver.nii.gz", "liver.nii.gz~", "Thumbs.db")


@pytest.fixture
def claim(archive: Archive, tmp_path: Path) -> Path:
    fill(archive.connection, archive.reviews[0], tmp_path)
    return tmp_path


def downloaded(archive: Archive, folder: Path) -> None:
    """A claim folder, with its note."""
    review = archive.reviews[0]
    download(archive.connection, Note(review.name, 7, "ana", review.volume, review.label_version), review, folder)


def test_it_opens_at_the_right_place(claim: Path, archive: Archive, oblique: Geometry) -> None:
    ct = read_header(claim / "ct.nii.gz")
    names = sorted(path.name for path in (claim / "segmentations").iterdir())
    assert names == ["aorta.nii.gz", "gall_bladder.nii.gz", "liver.nii.gz", "spleen.nii.gz"]
    for name in names:
        assert read_mask(claim / "segmentations" / name).geometry.digest == ct.geometry.digest
    heat = nib.load(claim / "attention.nii.gz")
    assert np.allclose(heat.affine, oblique.matrix)
    assert np.asarray(heat.dataobj).max() == 200


def test_a_ct_that_was_imported_uncompressed_opens_by_its_name(archive: Archive, tmp_path: Path) -> None:
    review = archive.reviews[0]
    volume: pb.Volume = archive.records[review.volume]
    plain = gzip.decompress(archive.objects[volume.ct.name])
    volume.ct.CopyFrom(archive.put(plain))
    fill(archive.connection, review, tmp_path)
    assert gzip.decompress((tmp_path / "ct.nii.gz").read_bytes()) == plain
    opened = nib.load(tmp_path / "ct.nii.gz")
    assert np.array_equal(np.asarray(opened.dataobj).T, read_ct(plain).voxels)
    assert not list(tmp_path.glob("ct.nii")), "nothing else is left of it"


def test_a_claim_shows_where_readers_disagree(archive: Archive, tmp_path: Path) -> None:
    """Beside the masks, so that none of it is taken for a mask when the folder comes back."""
    review = archive.reviews[0]
    against = (np.arange(40 * 36 * 20).reshape(20, 36, 40) % 3).astype(np.uint8)
    archive.disagree(review.label_version, "spleen", against)
    fill(archive.connection, review, tmp_path)
    labels = read_labels(tmp_path / "disagreement/spleen.nii.gz")
    assert np.array_equal(labels.voxels, against)
    assert labels.geometry.is_close(read_header(tmp_path / "ct.nii.gz").geometry)
    assert changed_masks(archive.connection, review.label_version, mask_files([tmp_path], ORGANS)) == {}


def test_only_changed_masks_are_taken(claim: Path, archive: Archive) -> None:
    review = archive.reviews[0]
    masks = mask_files([claim], ORGANS)
    assert changed_masks(archive.connection, review.label_version, masks) == {}
    spleen = claim / "segmentations" / "spleen.nii.gz"
    mask = read_mask(spleen)
    mask.voxels[0, 0, 0] ^= 1
    write_mask(spleen, mask.voxels, mask.geometry, like=mask.header)
    write_mask(claim / "segmentations" / "stomach.nii.gz", mask.voxels, mask.geometry, like=mask.header)
    changed = changed_masks(archive.connection, review.label_version, mask_files([claim], ORGANS))
    assert sorted(changed) == ["spleen", "stomach"], "an organ that nobody had looked for is new"


def test_a_mask_in_another_place_is_changed(claim: Path, archive: Archive) -> None:
    """Storage refuses it; taking it for unchanged would lose whatever the viewer meant."""
    path = claim / "segmentations" / "aorta.nii.gz"
    mask = read_mask(path)
    matrix = mask.geometry.matrix.copy()
    matrix[2, 3] += 5
    write_mask(path, mask.voxels, Geometry.from_matrix(mask.geometry.shape, matrix))
    changed = changed_masks(archive.connection, archive.reviews[0].label_version, mask_files([claim], ORGANS))
    assert sorted(changed) == ["aorta"]


def save_canonical(path: Path, *, but_for: tuple[int, int, int] | None = None) -> None:
    """Save a mask again in RAS order, as tools do, with one voxel (i, j, k) of the CT's order changed."""
    image = nib.load(path)
    voxels = np.array(image.dataobj)
    if but_for:
        voxels[but_for] ^= 1
    turned = nib.as_closest_canonical(nib.Nifti1Image(voxels, image.affine))
    assert not np.allclose(turned.affine, image.affine)
    turned.to_filename(path)


def test_masks_saved_in_another_orientation_are_not_changed(claim: Path, archive: Archive) -> None:
    """The same voxels of the patient, in another order: as a revision they would make an audit's case a wrong one."""
    version, folder = archive.reviews[0].label_version, claim / "segmentations"
    for path in folder.iterdir():
        save_canonical(path)
    assert changed_masks(archive.connection, version, mask_files([claim], ORGANS)) == {}
    fill(archive.connection, archive.reviews[0], claim)
    save_canonical(folder / "spleen.nii.gz", but_for=(0, 0, 0))
    assert sorted(changed_masks(archive.connection, version, mask_files([claim], ORGANS))) == ["spleen"]


def test_a_mask_that_is_mirrored_in_the_patient_is_changed(claim: Path, archive: Archive) -> None:
    """Its array is the one that was claimed, its header another: whoever writes that may mean either."""
    path = claim / "segmentations" / "liver.nii.gz"
    mask = read_mask(path)
    matrix = mask.geometry.matrix
    matrix[:3, 3] += matrix[:3, 0] * (mask.geometry.shape[0] - 1)
    matrix[:3, 0] *= -1
    write_mask(path, mask.voxels, Geometry.from_matrix(mask.geometry.shape, matrix))
    changed = changed_masks(archive.connection, archive.reviews[0].label_version, mask_files([claim], ORGANS))
    assert sorted(changed) == ["liver"]


def test_the_note_tells_which_ct_was_downloaded(archive: Archive, tmp_path: Path) -> None:
    downloaded(archive, tmp_path)
    assert Note.read(tmp_path).voxel_digest == archive.records[archive.reviews[0].volume].voxel_digest
    assert drawn_on([tmp_path / "segmentations/liver.nii.gz", tmp_path / "liver.nii.gz"])
    assert drawn_on([tmp_path.parent / "liver.nii.gz"]) == "", "masks that lie in no claim"


def test_masks_of_another_claim_are_refused(storage: str, tmp_path: Path) -> None:
    """Two CTs on one grid, so that nothing but the claims tells them apart; neither gets a revision."""
    connection = cast(Connection, SimpleNamespace(storage=Storage(storage)))
    rpc, grid = connection.storage.rpc, Geometry.from_matrix((24, 20, 16), np.diag([2.0, 2.0, 3.0, 1.0]))
    masks = {}
    for seed, name in enumerate(("swapped-a", "swapped-b")):
        voxels = np.random.default_rng(seed).integers(-1000, 1000, grid.array_shape).astype(np.int16)
        given = connection.storage.put(encode(voxels, grid))
        volume = rpc.CreateVolume(pb.CreateVolumeRequest(volume_id=name, object=given.name)).volume
        (tmp_path / name / "segmentations").mkdir(parents=True)
        Note(f"campaigns/c/reviews/{name}", 1, "ana", volume.name, "", volume.voxel_digest).write(tmp_path / name)
        masks[name] = {"liver": tmp_path / name / "segmentations/liver.nii.gz"}
        write_mask(masks[name]["liver"], np.ones(grid.array_shape, np.uint8), grid)
    for mine, other in (("swapped-a", "swapped-b"), ("swapped-b", "swapped-a")):
        with pytest.raises(AtlasError, match="drawn on another CT") as caught:
            upload_revision(connection, f"volumes/{mine}", masks[other], class_map="abdomenatlas-1.0", author="ana")
        assert (caught.value.reason, caught.value.field) == (Reason.FIELD_INVALID, "voxel_digest")
        assert not rpc.ListLabelVersions(pb.ListLabelVersionsRequest(parent=f"volumes/{mine}")).label_versions
    with pytest.raises(AtlasError, match="several CTs"):
        drawn_on([masks["swapped-a"]["liver"], masks["swapped-b"]["liver"]])
    for name in masks:
        assert upload_revision(
            connection, f"volumes/{name}", masks[name], class_map="abdomenatlas-1.0", author="ana"
        ).startswith(f"volumes/{name}/labels/")


def test_an_organ_with_two_files_is_refused(claim: Path) -> None:
    """A viewer saves liver.nii beside liver.nii.gz: nobody can say which of the two is meant."""
    (claim / "segmentations" / "liver.nii").touch()
    with pytest.raises(AtlasError, match=r"liver is there twice: liver\.nii is") as caught:
        mask_files([claim], ORGANS)
    assert caught.value.reason == Reason.FIELD_INVALID
    assert Path(caught.value.field).name == "liver.nii.gz"


def test_a_mask_beside_the_ct_is_not_passed_by(claim: Path) -> None:
    """Viewers save where the CT was opened from."""
    (claim / "stomach.nii.gz").touch()
    assert mask_files([claim], ORGANS)["stomach"] == claim / "stomach.nii.gz"
    (claim / "liver.nii.gz").touch()
    with pytest.raises(AtlasError, match=r"liver is there twice"):
        mask_files([claim], ORGANS)


@pytest.mark.parametrize("saved", UNTAKEN)
def test_what_cannot_be_taken_from_a_claim_is_refused_by_its_name(archive: Archive, tmp_path: Path, saved: str) -> None:
    downloaded(archive, tmp_path)
    (tmp_path / saved).mkdir() if saved.endswith("/") else (tmp_path / saved).touch()
    with pytest.raises(AtlasError) as caught:
        mask_files([tmp_path], ORGANS)
    assert (caught.value.reason, caught.value.field) == (Reason.FIELD_INVALID, str(tmp_path / saved))
    assert Path(saved).name in caught.value.message
    assert "segmentations/<organ>.nii.gz" in caught.value.remedy


def test_what_systems_and_editors_leave_in_a_claim_is_passed_by(archive: Archive, tmp_path: Path) -> None:
    downloaded(archive, tmp_path)
    for folder in (tmp_path, tmp_path / "segmentations"):
        for name in LEFT_BEHIND:
            (folder / name).touch()
    assert sorted(mask_files([tmp_path], ORGANS)) == ["aorta", "gall_bladder", "liver", "spleen"]


def test_a_mask_beside_the_ct_of_a_claim_is_taken(archive: Archive, tmp_path: Path) -> None:
    downloaded(archive, tmp_path)
    for path in (tmp_path / "segmentations").iterdir():
        path.unlink()
    with pytest.raises(AtlasError) as caught:
        mask_files([tmp_path], ORGANS)
    assert caught.value.reason == Reason.FOLDER_EMPTY
    (tmp_path / "segmentations").rmdir()
    (tmp_path / "stomach.nii").touch()
    assert mask_files([tmp_path], ORGANS) == {"stomach": tmp_path / "stomach.nii"}


def test_an_unreadable_mask_is_left_to_storage(claim: Path, archive: Archive) -> None:
    (claim / "segmentations" / "spleen.nii.gz").write_bytes(b"nonsense")
    changed = changed_masks(archive.connection, archive.reviews[0].label_version, mask_files([claim], ORGANS))
    assert sorted(changed) == ["spleen"]


def test_masks_by_name(tmp_path: Path) -> None:
    for name in ("liver.nii.gz", "spleen.nii"):
        (tmp_path / name).touch()
    assert sorted(mask_files([tmp_path], ORGANS)) == ["liver", "spleen"]
    assert sorted(mask_files([tmp_path / "liver.nii.gz"], ORGANS)) == ["liver"]
    (tmp_path / "lever.nii.gz").touch()
    with pytest.raises(AtlasError, match=r"lever\.nii\.gz.*no 'lever'"):
        mask_files([tmp_path], ORGANS)
    (tmp_path / "none").mkdir()
    with pytest.raises(AtlasError) as caught:
        mask_files([tmp_path / "none"], ORGANS)
    assert caught.value.reason == Reason.FOLDER_EMPTY


def test_the_token_is_kept_for_its_holder_alone(tmp_path: Path) -> None:
    note = Note("campaigns/a/reviews/b", 7, "Dr. A", "volumes/x", "volumes/x/labels/y")
    note.write(tmp_path)
    assert Note.read(tmp_path) == note
    assert (tmp_path / NOTE).stat().st_mode & 0o077 == 0
    (tmp_path / NOTE).write_text(json.dumps({"review": "x"}))
    with pytest.raises(AtlasError, match="not a claim's note"):
        Note.read(tmp_path)
    (tmp_path / NOTE).unlink()
    with pytest.raises(AtlasError, match=NOTE):
        Note.read(tmp_path)

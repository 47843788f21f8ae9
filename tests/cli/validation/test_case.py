"""What `atlas validate` says of the files of one case: ours, and such as others have made."""

import gzip
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.cli.release.contents import read_contents
from services.cli.release.writer import write_release
from tests.cli.archive import CAMPAIGN, Archive
from tests.cli.validation.changes import (
    LIVER,
    REAL,
    Change,
    be_text,
    found,
    lps_header,
    moved_origin,
    nib,
    others,
    rewrite,
    smaller,
    told,
    truncate,
)


def cropped(image: Any) -> Any:
    return nib.Nifti1Image(np.asarray(image.dataobj)[:-3], image.affine)


def not_binary(image: Any) -> Any:
    return nib.Nifti1Image(np.asarray(image.dataobj) * np.arange(40, dtype=np.uint8)[:, None, None], image.affine)


def as_int16(image: Any) -> Any:
    return nib.Nifti1Image(np.asarray(image.dataobj).astype(np.int16), image.affine)


def test_a_release_of_ours_has_no_faults(release: Path) -> None:
    assert [fault for fault in found(release) if fault.grave] == []
    assert [fault for fault in found(others(release)) if fault.grave] == []


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        (lps_header, "GRID_DIFFERS", "another orientation"),
        (moved_origin, "GRID_DIFFERS", "246 mm"),
        (cropped, "GRID_DIFFERS", "Its grid is not the CT's"),
        (not_binary, "MASK_NOT_BINARY", ""),
        (smaller, "COMBINED_DIFFERS", "5 voxels have this organ's id"),
    ],
)
def test_a_mask_that_is_wrong_is_named(release: Path, change: Callable[[Any], Any], kind: str, told: str) -> None:
    rewrite(others(release) / LIVER, change)
    (fault,) = [fault for fault in found(release) if fault.grave]
    assert (fault.file, fault.kind) == (LIVER, kind)
    assert told in fault.message
    assert fault.remedy


def has_no_slope(path: Path) -> None:
    """NaN where the slope stands."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[112:116] = struct.pack("<f", np.nan)
    path.write_bytes(gzip.compress(bytes(raw)))


@pytest.mark.parametrize(
    ("change", "kind"), [(has_no_slope, "HEADER_ODD"), (lambda path: rewrite(path, as_int16), "DTYPES_MIXED")]
)
def test_what_is_odd_is_told_and_is_no_fault(release: Path, change: Change, kind: str) -> None:
    before = found(others(release))
    change(release / LIVER)
    told = found(release)
    assert {fault.kind for fault in told if fault not in before} == {kind}
    assert not any(fault.grave for fault in told)


def scaled(path: Path) -> None:
    """int8 of -128 and 127 with slope 1/255, as released masks have it: 0 and 1.00000006."""
    image = nib.load(path)
    stored = np.where(np.asarray(image.dataobj), 127, -128).astype(np.int8)
    raw = bytearray(nib.Nifti1Image(stored, image.affine).to_bytes())
    raw[112:120] = struct.pack("<ff", 1 / 255, 128 / 255)
    path.write_bytes(gzip.compress(bytes(raw)))


def test_a_mask_that_readers_find_empty_is_a_fault(release: Path) -> None:
    scaled(others(release) / LIVER)
    assert not (nib.load(release / LIVER).get_fdata() == 1).any()
    (fault,) = [fault for fault in found(release) if fault.grave]
    assert (fault.file, fault.kind) == (LIVER, "LABELS_SCALED")
    assert "who asks for 1 finds nothing, for it reads as 1.00000" in fault.message


def test_a_label_map_of_float64_is_odd(release: Path) -> None:
    path = others(release) / "BDMAP_00000002/combined_labels.nii.gz"
    rewrite(path, lambda image: nib.Nifti1Image(image.get_fdata(), image.affine))
    told = [fault for fault in found(release) if fault.file.endswith("combined_labels.nii.gz")]
    assert [(fault.kind, fault.message, fault.grave) for fault in told] == [
        ("VALUES_ODD", "Its labels are stored as float64.", False)
    ]


@pytest.mark.parametrize("damage", [truncate, be_text])
@pytest.mark.parametrize("name", [LIVER, "BDMAP_00000002/combined_labels.nii.gz"])
def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_read(release: Path, damage: Change, name: str) -> None:
    damage(others(release) / name)
    rewrite(release / "BDMAP_00000001/segmentations/aorta.nii.gz", moved_origin)
    grave = {fault.file for fault in found(release) if fault.grave}
    assert grave == {name, "BDMAP_00000001/segmentations/aorta.nii.gz"}


def test_ids_without_a_mask_are_named(release: Path) -> None:
    (others(release) / LIVER).unlink()
    (fault,) = [fault for fault in found(release) if fault.grave]
    assert (fault.kind, fault.file) == ("COMBINED_DIFFERS", "BDMAP_00000002/combined_labels.nii.gz")
    assert "5 (" in fault.message


def test_a_map_of_sources_that_does_not_fit_the_labels_is_named(release: Path) -> None:
    """Written by other means: 5 labelled voxels have no source."""
    case = others(release) / "BDMAP_00000002"
    shutil.copyfile(case / "combined_labels.nii.gz", case / "sources.nii.gz")
    assert not [fault for fault in found(release) if fault.grave]
    rewrite(case / "sources.nii.gz", smaller)
    (fault,) = [fault for fault in found(release) if fault.grave]
    assert (fault.kind, fault.file) == ("COMBINED_DIFFERS", "BDMAP_00000002/sources.nii.gz")
    assert fault.message.startswith("5 voxels")


def test_masks_that_contradict_each_other_without_a_ct(release: Path) -> None:
    """As a released case has it: two files with LPS headers, the others RAS, on the same voxels."""
    case = others(release) / "BDMAP_00000002"
    (case / "ct.nii.gz").unlink()
    for name in ("combined_labels.nii.gz", "segmentations/aorta.nii.gz"):
        rewrite(case / name, lps_header)
    told = {fault.file for fault in found(release) if fault.kind == "GRID_DIFFERS"}
    assert told == {"BDMAP_00000002/combined_labels.nii.gz", "BDMAP_00000002/segmentations/aorta.nii.gz"}


def test_a_ct_that_breaks_off_is_a_fault_and_its_masks_are_read(release: Path) -> None:
    truncate(others(release) / "BDMAP_00000002/ct.nii.gz")
    rewrite(release / LIVER, moved_origin)
    grave = {(fault.file, fault.kind) for fault in found(release) if fault.grave}
    assert grave == {("BDMAP_00000002/ct.nii.gz", "FILE_TRUNCATED"), (LIVER, "GRID_DIFFERS")}


def test_a_mask_that_stands_for_the_ct_is_a_fault(release: Path) -> None:
    shutil.copyfile(others(release) / LIVER, release / "BDMAP_00000002/ct.nii.gz")
    (fault,) = [fault for fault in found(release) if fault.grave]
    assert (fault.file, fault.kind) == ("BDMAP_00000002/ct.nii.gz", "FIELD_INVALID")
    assert "This is a mask, a label map or no CT" in fault.message


@pytest.mark.skipif(not REAL, reason="ATLAS_REAL_DATA names no folder of real data")
def test_masks_of_a_real_release_without_their_ct(tmp_path: Path) -> None:
    """The missing CT is named; the masks themselves can be read."""
    folder = tmp_path / "BDMAP_1" / "segmentations"
    folder.mkdir(parents=True)
    for path in (Path(str(REAL)) / "abdomenatlas_masks9").rglob("*.nii.gz"):
        (folder / path.name).symlink_to(path)
    (spoilt,) = (Path(str(REAL)) / "robustness").glob("mask_int8_slope1over255_spleen*")
    (tmp_path / "BDMAP_2/segmentations").mkdir(parents=True)
    (tmp_path / "BDMAP_2/segmentations/spleen.nii.gz").symlink_to(spoilt)
    assert [(fault.file, fault.kind) for fault in found(tmp_path) if fault.grave] == [
        ("BDMAP_1/ct.nii.gz", "FILE_MISSING"),
        ("BDMAP_2/ct.nii.gz", "FILE_MISSING"),
        ("BDMAP_2/segmentations/spleen.nii.gz", "LABELS_SCALED"),
    ]


def test_what_lies_among_the_masks_and_is_none_is_told(release: Path) -> None:
    """An uncompressed mask too: `atlas import` would take it, and it was not validated."""
    folder = others(release) / "BDMAP_00000002/segmentations"
    (folder / "stomach.nii").write_bytes(gzip.decompress((folder / "liver.nii.gz").read_bytes()))
    (folder / "notes.txt").write_text("by hand")
    (folder / "old").mkdir()
    strange = [(fault.file, fault.grave) for fault in found(release) if fault.kind == "FILE_UNEXPECTED"]
    assert strange == [(f"BDMAP_00000002/segmentations/{name}", False) for name in ("notes.txt", "old", "stomach.nii")]


def test_maps_of_disagreement_are_read_and_held_against_the_cts_grid(archive: Archive, tmp_path: Path) -> None:
    item = next(i for i in archive.items if i.volume == "volumes/case-b")
    archive.disagree(item.label_version, "spleen", np.full((20, 36, 40), 2, np.uint8))
    folder = tmp_path / "release"
    write_release(archive.connection.storage, read_contents(archive.connection, CAMPAIGN), folder)
    assert told(folder) == []
    assert not [fault for fault in found(folder) if "disagreement" in fault.file]
    name = "BDMAP_00000002/disagreement/spleen.nii.gz"
    rewrite(others(folder) / name, moved_origin)
    assert told(folder) == [(name, "GRID_DIFFERS")]
    (folder / name).write_bytes(b"nonsense")
    assert told(folder) == [(name, "FILE_NOT_NIFTI")]
    (folder / name).rename((folder / name).with_name("stomach.nii.gz"))
    strange = ("BDMAP_00000002/disagreement/stomach.nii.gz", "FILE_UNEXPECTED", False)
    assert strange in [(fault.file, fault.kind, fault.grave) for fault in found(folder)]

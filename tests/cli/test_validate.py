"""What `atlas validate` says of releases: ours, and such as others have made."""

import gzip
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

import services.cli.__main__  # noqa: F401 - registers the commands
from services.cli.app import app
from services.cli.release.contents import read_contents
from services.cli.release.writer import write_release
from services.cli.validation.faults import Fault
from services.cli.validation.folder import cases, faults
from services.core.errors import AtlasError
from tests.cli.archive import CAMPAIGN, Archive

nib: Any = nibabel
Change = Callable[[Path], None]
LIVER = "BDMAP_00000002/segmentations/liver.nii.gz"
REAL = os.environ.get("ATLAS_REAL_DATA")


@pytest.fixture
def release(archive: Archive, tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    write_release(archive.connection.storage, read_contents(archive.connection, CAMPAIGN), folder)
    return folder


def others(release: Path) -> Path:
    """The same cases without anything that our releases have beside them."""
    for path in (*release.glob("*.*"), release / "SHA256SUMS", *release.rglob("provenance.json")):
        path.unlink(missing_ok=True)
    return release


def found(folder: Path) -> list[Fault]:
    return faults(folder, cases(folder))


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    image = nib.load(path)
    nib.save(change(image), path.with_name("new.nii.gz"))
    path.with_name("new.nii.gz").replace(path)


def lps_header(image: Any) -> Any:
    return nib.Nifti1Image(np.asarray(image.dataobj), image.affine @ np.diag([-1, -1, 1, 1]))


def moved_origin(image: Any) -> Any:
    affine = image.affine.copy()
    affine[2, 3] += 246
    return nib.Nifti1Image(np.asarray(image.dataobj), affine)


def cropped(image: Any) -> Any:
    return nib.Nifti1Image(np.asarray(image.dataobj)[:-3], image.affine)


def not_binary(image: Any) -> Any:
    return nib.Nifti1Image(np.asarray(image.dataobj) * np.arange(40, dtype=np.uint8)[:, None, None], image.affine)


def smaller(image: Any) -> Any:
    voxels = np.asarray(image.dataobj).copy()
    voxels[tuple(np.argwhere(voxels)[:5].T)] = 0
    return nib.Nifti1Image(voxels, image.affine)


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
    before = {fault.kind for fault in found(others(release))}
    change(release / LIVER)
    told = found(release)
    assert {fault.kind for fault in told} - before == {kind}
    assert not any(fault.grave for fault in told)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def be_text(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\n")


@pytest.mark.parametrize("damage", [truncate, be_text])
@pytest.mark.parametrize("name", [LIVER, "BDMAP_00000002/combined_labels.nii.gz"])
def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_read(release: Path, damage: Change, name: str) -> None:
    damage(others(release) / name)
    rewrite(release / "BDMAP_00000001/segmentations/aorta.nii.gz", moved_origin)
    grave = {fault.file for fault in found(release) if fault.grave}
    assert grave == {name, "BDMAP_00000001/segmentations/aorta.nii.gz"}


def test_files_that_are_missing_altered_or_strange_are_named(release: Path) -> None:
    shutil.move(release / "BDMAP_00000001/ct.nii.gz", release / "BDMAP_00000001/scan.nii.gz")
    (release / "class_map.yaml").write_text("name: abdomenatlas-9\n")
    told = {(fault.file, fault.kind) for fault in found(release)}
    assert {
        ("BDMAP_00000001/ct.nii.gz", "FILE_MISSING"),
        ("BDMAP_00000001/scan.nii.gz", "FILE_UNLISTED"),
        ("class_map.yaml", "FILE_ALTERED"),
        ("class_map.yaml", "CLASS_MAP_MISMATCH"),
    } <= told


def test_ids_without_a_mask_are_named(release: Path) -> None:
    (others(release) / LIVER).unlink()
    (fault,) = [fault for fault in found(release) if fault.grave]
    assert (fault.kind, fault.file) == ("COMBINED_DIFFERS", "BDMAP_00000002/combined_labels.nii.gz")
    assert "5 (" in fault.message


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="No folder in it"):
        cases(tmp_path)


def test_the_command_tells_by_its_code(release: Path) -> None:
    run = CliRunner().invoke
    assert run(app, ["validate", str(release)]).exit_code == 0
    truncate(release / LIVER)
    failed = run(app, ["validate", str(release), "--json"])
    assert failed.exit_code == 6
    told = json.loads(failed.stdout)
    assert told["cases"] == 2
    assert {fault["kind"] for fault in told["faults"]} >= {"FILE_ALTERED"}


@pytest.mark.skipif(not REAL, reason="ATLAS_REAL_DATA names no folder of real data")
def test_masks_of_a_real_release_without_their_ct(tmp_path: Path) -> None:
    """The missing CT is named; the masks themselves can be read."""
    folder = tmp_path / "BDMAP_1" / "segmentations"
    folder.mkdir(parents=True)
    for path in (Path(str(REAL)) / "abdomenatlas_masks9").rglob("*.nii.gz"):
        (folder / path.name).symlink_to(path)
    grave = [fault for fault in found(tmp_path) if fault.grave]
    assert [(fault.file, fault.kind) for fault in grave] == [("BDMAP_1/ct.nii.gz", "FILE_MISSING")]

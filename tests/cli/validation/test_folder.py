"""What `atlas validate` says of a release as a whole: its lists, its split, its command."""

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

import services.cli.__main__  # noqa: F401 - registers the commands
from services.cli.app import app
from services.core.geometry import Geometry
from services.core.nifti import write_ct
from tests.cli import public_datasets as public
from tests.cli.validation.changes import LIVER, Change, found, moved_origin, others, rewrite, told, truncate


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


def test_the_command_tells_by_its_code(release: Path) -> None:
    run = CliRunner().invoke
    assert run(app, ["validate", str(release)]).exit_code == 0
    truncate(release / LIVER)
    failed = run(app, ["validate", str(release), "--json"])
    assert failed.exit_code == 6
    told = json.loads(failed.stdout)
    assert told["cases"] == 2
    assert {fault["kind"] for fault in told["faults"]} >= {"FILE_ALTERED"}
    shown = run(app, ["validate", str(release)]).stdout
    assert "FILE_ALTERED 1" in shown
    assert f"{LIVER}" in shown


def _be_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _lead_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.nii.gz")


@pytest.mark.parametrize("change", [_be_a_folder, _lead_nowhere])
def test_what_the_system_cannot_read_is_a_fault_and_the_rest_is_read(release: Path, change: Change) -> None:
    change(others(release) / LIVER)
    rewrite(release / "BDMAP_00000001/segmentations/spleen.nii.gz", moved_origin)
    grave = [(fault.file, fault.kind) for fault in found(release) if fault.grave]
    assert (LIVER, "FIELD_INVALID") in grave
    assert ("BDMAP_00000001/segmentations/spleen.nii.gz", "GRID_DIFFERS") in grave


def test_a_listed_file_that_the_system_cannot_read_is_a_fault(release: Path) -> None:
    _lead_nowhere(release / "LICENSE.md")
    assert ("LICENSE.md", "FIELD_INVALID") in {(fault.file, fault.kind) for fault in found(release)}


def test_a_scan_on_both_sides_of_the_split_is_a_fault(tmp_path: Path) -> None:
    """Told though the second is cropped, and told of the third, which is the first with its axes flipped."""
    case = public.patient(10)
    depth, rows, columns = case.ct.shape
    cropped = Geometry.from_matrix((columns, rows, depth - 10), case.geometry.matrix)
    flip = np.diag([1, 1, -1, 1.0])
    flip[2, 3] = depth - 1
    flipped = Geometry.from_matrix((columns, rows, depth), case.geometry.matrix @ flip)
    scans = {"a": (case.ct, case.geometry), "b": (case.ct[10:], cropped), "c": (case.ct[::-1], flipped)}
    other = public.patient(11)
    for name, (voxels, geometry) in {**scans, "d": (other.ct, other.geometry)}.items():
        put_ct(tmp_path / name, voxels, geometry)
    kinds = {"FILE_MISSING", "FILE_UNEXPECTED"}
    alone = {(fault.file, fault.kind, fault.grave) for fault in found(tmp_path) if fault.kind not in kinds}
    assert alone == {("b/ct.nii.gz", "SCAN_REPEATED", False), ("c/ct.nii.gz", "SCAN_REPEATED", False)}
    (tmp_path / "metadata.csv").write_text("case,split\na,train\nb,test\nc,train\nd,test\n")
    leaks = [fault for fault in found(tmp_path) if fault.kind == "SPLIT_LEAKS"]
    assert [(leak.file, leak.grave) for leak in leaks] == [("b/ct.nii.gz", True), ("c/ct.nii.gz", True)]
    assert "as a. One is for test, the other for train." in leaks[0].message
    assert "as b. One is for train, the other for test." in leaks[1].message


def put_ct(case: Path, voxels: npt.NDArray[np.int16], geometry: Geometry) -> None:
    case.mkdir()
    write_ct(case / "ct.nii.gz", np.ascontiguousarray(voxels), geometry)


@pytest.mark.parametrize("names", ["abc", "acb", "bac", "bca", "cab", "cba"])
@pytest.mark.parametrize("is_cropped", [True, False])
def test_a_leak_is_found_whatever_the_names(tmp_path: Path, is_cropped: bool, names: str) -> None:
    """Though the whole scan, for training, is first found in a part of it for training, or in a copy on no side."""
    case = public.patient(10)
    depth, rows, columns = case.ct.shape
    half = Geometry.from_matrix((columns, rows, depth // 2), case.geometry.matrix)
    halves = [(case.ct[: depth // 2], half), (case.ct[-(depth // 2) :], half)]
    scans = [*(halves if is_cropped else [(case.ct, case.geometry)] * 2), (case.ct, case.geometry)]
    for name, scan in zip(names, scans, strict=True):
        put_ct(tmp_path / name, *scan)
    sides = ("train" if is_cropped else "", "test", "train")
    rows_told = [f"{name},{side}" for name, side in zip(names, sides, strict=True)]
    (tmp_path / "metadata.csv").write_text("\n".join(["case,split", *rows_told]) + "\n")
    (leak,) = [fault for fault in found(tmp_path) if fault.kind == "SPLIT_LEAKS"]
    assert {leak.file[0], leak.message.split(" as ")[1][0]} == {names[1], names[2]}


def test_a_mask_that_one_of_many_cases_lacks_is_told(release: Path) -> None:
    others(release)
    for number in range(3, 13):
        shutil.copytree(release / "BDMAP_00000002", release / f"BDMAP_{number:08d}")
    (release / LIVER.replace("02/", "12/")).unlink()
    told = [(fault.file, fault.grave) for fault in found(release) if fault.kind == "ORGAN_MISSING"]
    assert told == []  # the first case has no liver either, and 10 of 12 is not yet nearly all
    shutil.rmtree(release / "BDMAP_00000001")
    told = [(fault.file, fault.grave) for fault in found(release) if fault.kind == "ORGAN_MISSING"]
    assert told == [(LIVER.replace("02/", "12/"), False)]
    (release / "BDMAP_00000012/provenance.json").write_text('{"unknown_organs": ["liver"]}')
    assert not [fault for fault in found(release) if fault.kind == "ORGAN_MISSING"]


def test_a_release_without_its_checksums_is_not_whole(release: Path) -> None:
    (release / "SHA256SUMS").unlink()
    assert told(release) == [("SHA256SUMS", "FILE_MISSING")]


def test_a_case_that_was_taken_out_is_missed(release: Path) -> None:
    """Also where whoever took it out deleted the checksums too: both lists tell of it."""
    shutil.rmtree(release / "BDMAP_00000001")
    (release / "SHA256SUMS").unlink()
    case = ("BDMAP_00000001", "FILE_MISSING")
    assert told(release) == [("SHA256SUMS", "FILE_MISSING"), case, case]
    (release / "release.json").unlink()
    assert told(release) == [], "anybody's table may tell of more cases than somebody fetched"
    assert [(fault.file, fault.kind) for fault in found(release)].count(case) == 1


def test_a_case_that_was_put_in_is_told(release: Path) -> None:
    (release / "SHA256SUMS").unlink()
    shutil.copytree(release / "BDMAP_00000001", release / "BDMAP_00000009")
    assert told(release).count(("BDMAP_00000009", "FILE_UNLISTED")) == 2


@pytest.mark.parametrize(
    ("name", "text"), [("release.json", "{}"), ("metadata.csv", 'case,split\n"' + "x" * 131_073 + '",test\n')]
)
def test_a_list_that_cannot_be_read_is_a_fault_of_its_own(release: Path, name: str, text: str) -> None:
    (release / name).write_text(text)
    assert (name, "FIELD_INVALID") in told(release)

"""What `atlas validate` says of releases: ours, and such as others have made."""

import gzip
import io
import json
import os
import shutil
import struct
import tarfile
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
from services.cli.validation.folder import faults
from services.cli.validation.tree import cases_of, opened
from services.core.errors import AtlasError
from services.core.geometry import Geometry
from services.core.nifti import write_ct
from tests.cli import public_datasets as public
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
    with opened(folder) as tree:
        return faults(tree, cases_of(tree))


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


def test_a_map_of_sources_that_does_not_fit_the_labels_is_named(release: Path) -> None:
    """Written by other means: 5 labelled voxels have no source."""
    case = others(release) / "BDMAP_00000002"
    shutil.copyfile(case / "combined_labels.nii.gz", case / "sources.nii.gz")
    assert not [fault for fault in found(release) if fault.grave]
    rewrite(case / "sources.nii.gz", smaller)
    (fault,) = [fault for fault in found(release) if fault.grave]
    assert (fault.kind, fault.file) == ("COMBINED_DIFFERS", "BDMAP_00000002/sources.nii.gz")
    assert fault.message.startswith("5 voxels")


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="No folder in it"):
        found(tmp_path)


def test_a_folder_of_folders_of_cases_is_refused_with_the_way_to_them(release: Path) -> None:
    with pytest.raises(AtlasError, match=r"deeper in it, such as release/BDMAP_0") as caught:
        found(release.parent)
    assert str(release) in caught.value.remedy


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


def pack(folder: Path, tar: Path, mode: str = "w", prefix: str = "") -> Path:
    with tarfile.open(tar, mode) as archive:  # type: ignore[call-overload]
        archive.add(folder, f"{prefix}{folder.name}")
    return tar


@pytest.mark.parametrize(("name", "mode", "prefix"), [("r.tar", "w", ""), ("r.tar.gz", "w:gz", "./mirror/2024/")])
def test_a_tar_file_has_the_faults_of_its_folder(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, mode: str, prefix: str
) -> None:
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(unpacked))
    assert not [fault for fault in found(pack(release, tmp_path / f"whole-{name}", mode, prefix)) if fault.grave]
    rewrite(release / LIVER, moved_origin)
    (release / "BDMAP_00000001/notes.txt").write_text("years")
    (release / "README.md").unlink()
    (release / "metadata.csv").write_text("case,split\n")
    wanted = sorted(found(release), key=str)
    assert {fault.kind for fault in wanted} >= {"FILE_ALTERED", "FILE_MISSING", "FILE_UNLISTED", "GRID_DIFFERS"}
    assert sorted(found(pack(release, tmp_path / name, mode, prefix)), key=str) == wanted
    assert list(unpacked.iterdir()) == [], "what was unpacked is gone"


def test_a_tar_file_leads_nowhere_else(release: Path, tmp_path: Path) -> None:
    others(release)
    tar = pack(release, tmp_path / "r.tar")
    with tarfile.open(tar, "a") as archive:
        link = tarfile.TarInfo("release/BDMAP_00000001/segmentations/pancreas.nii.gz")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        climbing = tarfile.TarInfo("release/BDMAP_00000001/../../../outside.nii.gz")
        for entry in (link, climbing):
            archive.addfile(entry)
    told = [(fault.file, fault.kind) for fault in found(tar) if fault.grave]
    assert told == [
        ("BDMAP_00000001/segmentations/pancreas.nii.gz", "FILE_UNEXPECTED"),
        ("BDMAP_00000001/../../../outside.nii.gz", "FILE_UNEXPECTED"),
    ]


def test_members_that_cannot_be_unpacked_are_named_and_the_rest_is_read(release: Path, tmp_path: Path) -> None:
    """A file where a folder should be, one named as the root, a name that is too long."""
    others(release)
    tar = pack(release, tmp_path / "r.tar")
    odd = ["BDMAP_00000001/segmentations", ".", f"BDMAP_00000001/{'x' * 256}"]
    with tarfile.open(tar, "a") as archive:
        for name in odd:
            archive.addfile(tarfile.TarInfo("release" if name == "." else f"release/{name}"))
    told = [(fault.file, fault.kind) for fault in found(tar) if fault.grave]
    assert told == [(name, "FILE_UNEXPECTED") for name in odd]


@pytest.mark.parametrize("bound", ["_MAX_FILES", "_MAX_BYTES"])
def test_of_a_case_in_a_tar_file_no_more_is_unpacked_than_the_bound(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    others(release)
    tar = pack(release, tmp_path / "r.tar")
    monkeypatch.setattr(f"services.cli.validation.tree.{bound}", 2 if bound == "_MAX_FILES" else 100_000)
    with tarfile.open(tar, "a") as archive:
        for number in range(3):
            entry = tarfile.TarInfo(f"release/BDMAP_00000003/segmentations/{number}.nii.gz")
            entry.size = 50_000
            archive.addfile(entry, io.BytesIO(bytes(entry.size)))
    with opened(tar) as tree, tree.case("BDMAP_00000003") as folder:
        assert sorted(path.name for path in folder.rglob("*.nii.gz")) == ["0.nii.gz", "1.nii.gz"]
        assert "BDMAP_00000003/segmentations/2.nii.gz" in tree.refused


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


def test_a_tar_file_that_is_cut_off_is_refused(release: Path, tmp_path: Path) -> None:
    tar = pack(release, tmp_path / "r.tar.gz", "w:gz")
    tar.write_bytes(tar.read_bytes()[:-4000])
    with pytest.raises(AtlasError, match="no tar file, or is damaged"):
        found(tar)
    be_text(tar)
    with pytest.raises(AtlasError, match="no tar file, or is damaged"):
        found(tar)


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
        (tmp_path / name).mkdir()
        write_ct(tmp_path / name / "ct.nii.gz", np.ascontiguousarray(voxels), geometry)
    kinds = {"FILE_MISSING", "FILE_UNEXPECTED"}
    alone = {(fault.file, fault.kind, fault.grave) for fault in found(tmp_path) if fault.kind not in kinds}
    assert alone == {("b/ct.nii.gz", "SCAN_REPEATED", False), ("c/ct.nii.gz", "SCAN_REPEATED", False)}
    (tmp_path / "metadata.csv").write_text("case,split\na,train\nb,test\nc,train\nd,test\n")
    (leak,) = [fault for fault in found(tmp_path) if fault.kind == "SPLIT_LEAKS"]
    assert (leak.file, leak.grave) == ("b/ct.nii.gz", True)
    assert "as a. One is for test, the other for train." in leak.message


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
    assert "This is a mask or a label map, no CT" in fault.message


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


def told(folder: Path) -> list[tuple[str, str]]:
    return [(fault.file, fault.kind) for fault in found(folder) if fault.grave]


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

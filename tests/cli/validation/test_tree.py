"""What `atlas validate` takes: folders of cases and tar files of them."""

import io
import tarfile
from pathlib import Path

import pytest

from services.cli.validation.tree import opened
from services.core.errors import AtlasError
from tests.cli.validation.changes import LIVER, be_text, found, moved_origin, others, rewrite


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="No folder in it"):
        found(tmp_path)


def test_a_folder_of_folders_of_cases_is_refused_with_the_way_to_them(release: Path) -> None:
    with pytest.raises(AtlasError, match=r"deeper in it, such as release/BDMAP_0") as caught:
        found(release.parent)
    assert str(release) in caught.value.remedy


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


def test_a_tar_file_that_is_cut_off_is_refused(release: Path, tmp_path: Path) -> None:
    tar = pack(release, tmp_path / "r.tar.gz", "w:gz")
    tar.write_bytes(tar.read_bytes()[:-4000])
    with pytest.raises(AtlasError, match="no tar file, or is damaged"):
        found(tar)
    be_text(tar)
    with pytest.raises(AtlasError, match="no tar file, or is damaged"):
        found(tar)

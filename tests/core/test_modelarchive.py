import io
import tarfile
from pathlib import Path

import pytest

from services.core.errors import AtlasError, Reason
from services.core.modelarchive import pack, unpack


def _folder(root: Path) -> Path:
    folder = root / "unet"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text("name")
    (folder / "1" / "model.py").write_bytes(b"\x00model")
    (folder / "1" / "__pycache__").mkdir()
    (folder / "1" / "__pycache__" / "model.pyc").write_bytes(b"compiled")
    (folder / ".new-killed" / "version").mkdir(parents=True)
    (folder / ".new-killed" / "version" / "weights.pt").write_bytes(b"half")
    return folder


def test_a_folder_comes_back_as_it_was_and_gives_the_same_bytes_every_time(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    pack(folder, tmp_path / "first.tar")
    (folder / "config.pbtxt").touch()
    pack(folder, tmp_path / "second.tar")
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()
    unpack(tmp_path / "first.tar", tmp_path / "repository", "unet")
    back = {p.relative_to(tmp_path / "repository").as_posix() for p in (tmp_path / "repository").rglob("*.*")}
    assert back == {"unet/config.pbtxt", "unet/1/model.py"}
    assert (tmp_path / "repository/unet/1/model.py").read_bytes() == b"\x00model"


@pytest.mark.parametrize("name", ["other/model.py", "unet/../../etc/passwd", "/unet/x", "unet", "../unet/x"])
def test_an_entry_that_is_not_below_the_model_s_name_is_refused(tmp_path: Path, name: str) -> None:
    _refused(tmp_path, tarfile.TarInfo(name))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo("unet/link")
    entry.type, entry.linkname = kind, "/etc/passwd"
    _refused(tmp_path, entry)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "archive.tar").write_bytes(b"not a tar file" * 100)
    with pytest.raises(AtlasError, match="no tar file"):
        unpack(tmp_path / "archive.tar", tmp_path / "repository", "unet")


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(AtlasError) as caught:
        pack(tmp_path, tmp_path / "archive.tar")
    assert caught.value.reason == Reason.FOLDER_EMPTY


def _refused(folder: Path, entry: tarfile.TarInfo) -> None:
    with tarfile.open(folder / "archive.tar", "w") as tar:
        tar.addfile(entry, io.BytesIO())
    with pytest.raises(AtlasError) as caught:
        unpack(folder / "archive.tar", folder / "repository", "unet")
    assert caught.value.reason == Reason.FIELD_INVALID
    assert not (folder / "repository").exists()

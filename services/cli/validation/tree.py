"""What is validated: a folder of cases, or a tar file of one, which is unpacked case by case."""

import gzip
import hashlib
import lzma
import shutil
import tarfile
import tempfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from services.cli.release.present import sha256
from services.core.errors import AtlasError, Reason

CT = "ct.nii.gz"
MASKS = "segmentations"
_MAX_TEXT = 256 * 2**20
"""What is larger than this is no list of files and no table of cases."""
_MAX_FILES = 10_000
_MAX_BYTES = 64 * 2**30
"""Of one case in a tar file: so much is unpacked at once into the folder for temporary files."""
_MAX_NAME = 255
"""Bytes of one part of a name that file systems take."""


class Tree(Protocol):
    """Files below one root; names are relative to it, with "/"."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files, in order; links are among them."""

    @property
    def refused(self) -> tuple[str, ...]:
        """What lies in a tar file and is not read: what is no file, leads out, cannot lie there, or is too much."""

    def text(self, name: str) -> str | None:
        """The text of a file, or None if there is none of that name."""

    def digest(self, name: str) -> str:
        """SHA-256 of a file, in hex."""

    def case(self, name: str) -> AbstractContextManager[Path]:
        """The folder of a case, to be asked for in the order of `cases_of`, and there while the context is open."""


def cases_of(tree: Tree) -> list[str]:
    """Names of the folders that hold a CT or masks, in the order in which they are best read."""
    return list(dict.fromkeys(case for name in tree.files if (case := _case(PurePosixPath(name))) and "/" not in case))


def opened(path: Path) -> AbstractContextManager[Tree]:
    """The tree of a folder of cases, of one case, or of a tar file, compressed or not.

    Raises FIELD_INVALID if no case is in it, and FILE_TRUNCATED if a tar file is damaged.
    """
    return _tar(path) if path.is_file() else nullcontext(_folder(path))


def _case(name: PurePosixPath) -> str | None:
    """The folder of the case that a file belongs to, if it shows that there is one."""
    if name.name == CT and len(name.parts) > 1:
        return name.parent.as_posix()
    if name.parent.name == MASKS and len(name.parts) > 2:
        return name.parent.parent.as_posix()
    return None


def _folder(path: Path) -> Tree:
    tree = _Folder(path, tuple(_below(path)))
    if cases_of(tree):
        return tree
    root = path.absolute().parent
    alone = _Folder(root, tuple(f"{path.absolute().name}/{name}" for name in tree.files))
    if not cases_of(alone):
        raise _no_case(path, tree.files)
    return alone


def _below(path: Path) -> list[str]:
    if not path.is_dir():
        raise _no_case(path)
    return [p.relative_to(path).as_posix() for p in sorted(path.rglob("*")) if p.is_symlink() or not p.is_dir()]


@dataclass(frozen=True)
class _Folder:
    root: Path
    files: tuple[str, ...]
    refused: tuple[str, ...] = ()

    def text(self, name: str) -> str | None:
        path = self.root / name
        return _text(path.open("rb")) if path.is_file() else None

    def digest(self, name: str) -> str:
        return sha256(self.root / name)

    def case(self, name: str) -> AbstractContextManager[Path]:
        return nullcontext(self.root / name)


@contextmanager
def _tar(path: Path) -> Iterator[Tree]:
    with ExitStack() as stack:
        with _readable(path):
            archive = stack.enter_context(tarfile.open(path))
            members = archive.getmembers()
        found = [case for member in members if (case := _case(PurePosixPath(member.name)))]
        roots = Counter(PurePosixPath(case).parent for case in found)
        if not roots:
            raise _no_case(path)
        root = roots.most_common(1)[0][0]
        tree = _Tar(path, archive)
        # Of members of one name the last is what others unpack.
        below = {
            name.relative_to(root): member
            for member in members
            if (name := PurePosixPath(member.name)).is_relative_to(root) and not member.isdir()
        }
        folders = {parent for name in below for parent in name.parents}
        for name, member in below.items():
            tree.take(name, member, name in folders)
        yield tree


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Tells what is wrong with a tar file in the words of the product."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        message, remedy = "It is no tar file, or is damaged.", "Fetch it again."
        raise AtlasError(Reason.FILE_TRUNCATED, message, field=str(path), remedy=remedy) from error


@dataclass
class _Tar:
    path: Path
    archive: tarfile.TarFile
    members: dict[str, tarfile.TarInfo] = field(default_factory=dict)
    by_folder: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    bytes_in: Counter[str] = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)

    def take(self, name: PurePosixPath, member: tarfile.TarInfo, is_folder: bool) -> None:
        """Count a member in, or among the odd; `is_folder` if others lie below it."""
        file = name.as_posix()
        if not member.isfile() or is_folder or not _can_be_unpacked(name):
            self.odd.append(file)
            return
        folder = name.parts[0]
        files, size = self.by_folder[folder], self.bytes_in[folder] + member.size
        if len(files) >= _MAX_FILES or size > _MAX_BYTES:
            self.odd.append(file)
            return
        self.members[file] = member
        files.append(file)
        self.bytes_in[folder] = size

    @property
    def files(self) -> tuple[str, ...]:
        # In the order of the archive: one that is compressed can only be read forward.
        return tuple(self.members)

    @property
    def refused(self) -> tuple[str, ...]:
        return tuple(self.odd)

    def text(self, name: str) -> str | None:
        with _readable(self.path):
            return _text(self._open(name)) if name in self.members else None

    def digest(self, name: str) -> str:
        with _readable(self.path), self._open(name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]

    @contextmanager
    def case(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="atlas-validate-") as root:
            for file in self.by_folder[name]:
                path = Path(root) / file
                path.parent.mkdir(parents=True, exist_ok=True)
                with _readable(self.path), self._open(file) as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
            yield Path(root) / name

    def _open(self, name: str) -> IO[bytes]:
        file = self.archive.extractfile(self.members[name])
        assert file is not None
        return file


def _can_be_unpacked(name: PurePosixPath) -> bool:
    parts = name.parts
    if not parts or name.is_absolute() or ".." in parts:
        return False
    return all("\0" not in part and len(part.encode(errors="surrogateescape")) <= _MAX_NAME for part in parts)


def _text(file: IO[bytes]) -> str:
    with file:
        return file.read(_MAX_TEXT).decode("utf-8", "replace")


def _no_case(path: Path, files: Iterable[str] = ()) -> AtlasError:
    """The refusal of a folder without cases; if one of its `files` belongs to a case deeper in it, it says where."""
    deeper = next((case for name in files if (case := _case(PurePosixPath(name)))), None)
    if deeper:
        return AtlasError(
            Reason.FIELD_INVALID,
            f"Its cases lie deeper in it, such as {deeper}.",
            field=str(path),
            remedy=f"Name the folder that they lie in: {path / PurePosixPath(deeper).parent}.",
        )
    return AtlasError(
        Reason.FIELD_INVALID,
        f"No folder in it has a {CT} or {MASKS}.",
        field=str(path),
        remedy="Name a folder of cases in the BDMAP layout, or a tar file of one.",
    )

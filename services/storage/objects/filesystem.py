"""Objects in a folder."""

import contextlib
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path

from services.core.errors import AtlasError, Reason
from services.storage.objects.port import Readable, missing, too_short

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*")
_BLOCK = 1 << 20
_UNFINISHED = ".unfinished"


class FilesystemObjects:
    """Objects as files below a folder. A file is written aside, synced to disk and renamed into place."""

    def __init__(self, root: Path) -> None:
        """Raises DEPENDENCY_UNAVAILABLE if the folder is not there and cannot be made, or cannot be used."""
        self._root = root.absolute()
        self._unfinished = self._root / _UNFINISHED
        try:
            self._unfinished.mkdir(parents=True, exist_ok=True)
            for path in self._unfinished.iterdir():
                _remove_unless_locked(path)
        except OSError as error:
            raise _unusable("used", error, "objects") from error

    def put(self, key: str, data: Readable, size: int) -> None:
        """See the port."""
        target = self._path(key)
        handle, name = self._unfinished_file()
        try:
            with os.fdopen(handle, "wb") as file:
                left = size
                while left and (block := data.read(min(left, _BLOCK))):
                    file.write(block)
                    left -= len(block)
                if left:
                    raise too_short(key)
                file.flush()
                os.fsync(handle)
                _rename(Path(name), target)
        except OSError as error:
            raise _unusable("written", error, key) from error
        finally:
            Path(name).unlink(missing_ok=True)

    def open(self, key: str, offset: int = 0) -> RawIOBase:
        """See the port."""
        try:
            file = self._path(key).open("rb", buffering=0)
        except FileNotFoundError as error:
            raise missing(key) from error
        file.seek(offset)
        return file

    def size(self, key: str) -> int | None:
        """See the port."""
        try:
            return self._path(key).stat().st_size
        except FileNotFoundError:
            return None

    def keys(self, prefix: str) -> Iterator[str]:
        """See the port."""
        for folder, _, files in os.walk(self._path(prefix.rstrip("/"))):
            for name in files:
                yield (Path(folder) / name).relative_to(self._root).as_posix()

    def delete(self, key: str) -> None:
        """See the port."""
        path = self._path(key)
        path.unlink(missing_ok=True)
        # Removing fails while other keys are below, and that is right.
        with contextlib.suppress(OSError):
            path.parent.rmdir()

    def _unfinished_file(self) -> tuple[int, str]:
        """A new file, locked for as long as it is open, so that others see that its writer lives."""
        while True:
            handle, name = tempfile.mkstemp(dir=self._unfinished)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:
                return handle, name
            os.close(handle)  # somebody took it for a leftover before it was locked

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key[:200]!r} is not a key")
        return self._root / key


def _unusable(how: str, error: OSError, field: str) -> AtlasError:
    return AtlasError(
        Reason.DEPENDENCY_UNAVAILABLE,
        f"The folder of objects cannot be {how}: {error.strerror or type(error).__name__}.",
        field=field,
        remedy="Check the disk of the storage service and its permissions.",
    )


def _remove_unless_locked(path: Path) -> None:
    """Remove what a process left that was killed."""
    with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def _rename(source: Path, target: Path) -> None:
    """Put a file in its place, which lasts once it is synced to disk, as do the folders that had to be made."""
    while True:
        try:
            _make_folder(target.parent)
            source.replace(target)
        except FileNotFoundError:
            if not source.exists():
                raise
            continue  # `delete` took the empty folder away in between
        _sync_folder(target.parent)
        return


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

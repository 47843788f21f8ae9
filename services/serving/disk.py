"""Files that appear only when they are whole."""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from services.core.errors import AtlasError, Reason

SCRATCH = ".new-"
"""How the names of folders begin in which something is made, before it is renamed."""
_LEFT_SECONDS = 24 * 3600
_REMEDY = "Make room, or bound the cache with --cache-gib."


def write_whole(path: Path, data: bytes | memoryview, remedy: str = _REMEDY) -> None:
    """Write beside `path`, then rename: whoever is killed, or out of room, leaves what was there. Raises DISK_FULL."""
    part = path.with_name(f"{path.name}.part")
    with room_for(path, remedy):
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)


def remove_leftovers(folder: Path) -> None:
    """Remove the scratch folders in `folder` that nobody has touched for a day: whoever made them was killed."""
    for scratch in folder.glob(f"{SCRATCH}*"):
        with suppress(FileNotFoundError):
            if time.time() - _last_touched(scratch) > _LEFT_SECONDS:
                shutil.rmtree(scratch, ignore_errors=True)


def _last_touched(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


@contextmanager
def room_for(path: Path, remedy: str = _REMEDY) -> Iterator[None]:
    """Raise DISK_FULL, naming `path`, where the disk has no room for it."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise AtlasError(
            Reason.DISK_FULL,
            "There is no room left on the disk; what was written before is as it was.",
            field=str(path),
            remedy=f"{remedy} Then run the same command again.",
        ) from error

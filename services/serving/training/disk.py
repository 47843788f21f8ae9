"""Files that appear only when they are whole."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.core.errors import AtlasError, Reason


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write beside `path`, then rename: whoever is killed, or out of room, leaves what was there. Raises DISK_FULL."""
    part = path.with_name(f"{path.name}.part")
    with room_for(path):
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)


@contextmanager
def room_for(path: Path) -> Iterator[None]:
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
            remedy="Make room, or bound the cache with --cache-gib, and run the same command again.",
        ) from error

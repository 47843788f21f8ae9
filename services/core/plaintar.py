"""Files of a folder as a plain tar, the same bytes every time."""

import tarfile
from collections.abc import Iterable
from pathlib import Path


def pack_files(folder: Path, files: Iterable[Path], archive: Path) -> None:
    """Write these files of `folder` to `archive`, in their order, under the folder's name.

    Without times, owners or permissions of this machine; not compressed.
    """
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in files:
            entry = tarfile.TarInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}")
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(entry, file)

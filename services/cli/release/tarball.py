"""A release as one tar file, the same to the byte for the same release."""

import os
import tarfile
from pathlib import Path

from services.core.errors import AtlasError, Reason


def write_tar(release: Path, tar: Path) -> None:
    """Pack the folder `release` into `tar`, which appears only when it is whole.

    Files in the order of their names, without times, owners or permissions of this machine; not compressed, because the
    volumes are. Raises RESOURCE_CONFLICT if `tar` is there already.
    """
    if os.path.lexists(tar):
        raise AtlasError(
            Reason.RESOURCE_CONFLICT, "There is such a file already.", field=str(tar), remedy="Name a new file."
        )
    part = tar.with_name(f".{tar.name}.{os.getpid()}.part")
    try:
        with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(path for path in release.rglob("*") if path.is_file()):
                entry = tarfile.TarInfo(f"{release.name}/{path.relative_to(release).as_posix()}")
                entry.size = path.stat().st_size
                with path.open("rb") as file:
                    archive.addfile(entry, file)
        part.rename(tar)
    finally:
        part.unlink(missing_ok=True)

"""A release as one tar file, the same to the byte for the same release."""

import os
from pathlib import Path

from services.core.errors import AtlasError, Reason
from services.core.plaintar import pack_files


def require_target(release: Path, tar: Path) -> None:
    """Make sure, before anything is exported, that `release` can be packed into `tar`; its folder is made.

    Raises RESOURCE_CONFLICT if `tar` is there already, and FIELD_INVALID if it would be a file of the release.
    """
    if os.path.lexists(tar):
        raise AtlasError(
            Reason.RESOURCE_CONFLICT, "There is such a file already.", field=str(tar), remedy="Name a new file."
        )
    if tar.resolve().is_relative_to(release.resolve()):
        raise AtlasError(
            Reason.FIELD_INVALID,
            "A release cannot hold the file that it is packed into.",
            field=str(tar),
            remedy="Name a file beside the folder of the release.",
        )
    tar.parent.mkdir(parents=True, exist_ok=True)


def write_tar(release: Path, tar: Path) -> None:
    """Pack the folder `release` into `tar`, which appears only when it is whole.

    Files in the order of their names, without times, owners or permissions of this machine; not compressed, because the
    volumes are. Raises what `require_target` raises.
    """
    require_target(release, tar)
    part = tar.with_name(f".{tar.name}.{os.getpid()}.part")
    try:
        pack_files(release, sorted(path for path in release.rglob("*") if path.is_file()), part)
        part.rename(tar)
    finally:
        part.unlink(missing_ok=True)

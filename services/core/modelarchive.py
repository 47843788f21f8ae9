"""A model's folder as one file, so that storage can keep it as an object: a plain tar, the same bytes every time."""

import tarfile
from pathlib import Path

from services.core.errors import AtlasError, Reason
from services.core.plaintar import pack_files

MAX_FILES = 1000
MAX_BYTES = 64 * 2**30


def pack(folder: Path, archive: Path) -> None:
    """Write all files of `folder`, under its name, to `archive`, but not hidden ones. Raises FOLDER_EMPTY."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not _is_scratch(path.relative_to(folder)))
    if not files:
        raise AtlasError(
            Reason.FOLDER_EMPTY, "There is no file in it.", field=str(folder), remedy="Name the model's own folder."
        )
    pack_files(folder, files, archive)


def unpack(archive: Path, repository: Path, name: str) -> None:
    """Write the folder `name` of an archive into `repository`.

    Raises FIELD_INVALID if the archive holds anything else: other names, links, paths that lead out, too much.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            entries = tar.getmembers()
            total = sum(entry.size for entry in entries)
            if not 0 < len(entries) <= MAX_FILES or total > MAX_BYTES:
                raise _refused(name, f"it has {len(entries)} entries of {total} bytes")
            for entry in entries:
                parts = Path(entry.name).parts
                if not entry.isreg() or len(parts) < 2 or parts[0] != name or ".." in parts:
                    raise _refused(name, f"of the entry {entry.name[:200]!r}")
            tar.extractall(repository, entries, filter="data")
    except tarfile.TarError as error:
        raise _refused(name, "it is no tar file") from error


def _is_scratch(path: Path) -> bool:
    """Whether Python, or somebody who replaces files, made it for the moment."""
    return any(part == "__pycache__" or part.startswith(".") for part in path.parts)


def _refused(name: str, why: str) -> AtlasError:
    return AtlasError(
        Reason.FIELD_INVALID,
        f"This is not the archive of a model {name}: {why}.",
        field=name,
        remedy="Store the folder with `atlas store-model`.",
    )

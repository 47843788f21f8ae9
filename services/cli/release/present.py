"""A release that lies in a folder already: which one it is, whether it is whole, and making way for another."""

import hashlib
import json
import os
import shutil
from itertools import count
from pathlib import Path

import yaml

from services.core import classmaps
from services.core.classmaps import ClassMap
from services.core.errors import AtlasError, Reason

RECORD = "release.json"
CHECKSUMS = "SHA256SUMS"
CLASS_MAP = "class_map.yaml"


def release_id(folder: Path) -> str | None:
    """Id of the release in a folder, or None if there is none."""
    try:
        return str(json.loads((folder / RECORD).read_text())["release"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def checksums(folder: Path) -> dict[str, str] | None:
    """Digests of a release's files by name, or None if the list is missing or is none."""
    try:
        lines = (folder / CHECKSUMS).read_text().splitlines()
        return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError):
        return None


def class_map_of(folder: Path) -> ClassMap | None:
    """The class map that a release's folder names, or None if it names none.

    Raises CLASS_MAP_MISMATCH if it is none of ours, and FIELD_INVALID if the file says nothing.
    """
    path = folder / CLASS_MAP
    if not path.is_file():
        return None
    try:
        name = str(yaml.safe_load(path.read_text())["name"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        message = "It names no class map."
        raise AtlasError(Reason.FIELD_INVALID, message, field=CLASS_MAP, remedy="Restore it as it was.") from error
    return classmaps.load(name)


def damaged_files(folder: Path) -> list[str]:
    """Files of a release that are missing or no longer have their checksum."""
    if checksums(folder) is None:
        return [CHECKSUMS]
    return missing_files(folder) + altered_files(folder)


def missing_files(folder: Path) -> list[str]:
    """Files that the list of checksums has and the folder has not."""
    return [name for name in checksums(folder) or () if not (folder / name).is_file()]


def altered_files(folder: Path) -> list[str]:
    """Files of the list of checksums that are there and have another one."""
    sums = (checksums(folder) or {}).items()
    return [name for name, digest in sums if (folder / name).is_file() and sha256(folder / name) != digest]


def foreign_files(folder: Path) -> list[str]:
    """What lies in a release's folder and is not of the release, links included."""
    listed = {CHECKSUMS, *(checksums(folder) or ())}
    entries = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())
    return [name for path in entries if (name := path.relative_to(folder).as_posix()) not in listed]


def make_way(folder: Path, wanted: str) -> Path | None:
    """Clear `folder` for the release `wanted`, if another one lies there.

    It is removed only if it is whole and nobody put anything into it. Otherwise it is set aside, unchanged, and where
    is returned.
    """
    if release_id(folder) in (None, wanted):
        return None
    if not (folder.is_symlink() or damaged_files(folder) or foreign_files(folder)):
        shutil.rmtree(folder)
        return None
    names = (folder.with_name(f"{folder.name}-kept-{number}") for number in count(1))
    return folder.rename(next(path for path in names if not os.path.lexists(path)))


def sha256(path: Path) -> str:
    """Digest of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

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


def checksums(text: str) -> dict[str, str] | None:
    """Digests of a release's files by name, as `SHA256SUMS` lists them; None if the text is no such list."""
    try:
        return {name: digest for digest, name in (line.split("  ", 1) for line in text.splitlines())}
    except ValueError:
        return None


def listed(folder: Path) -> dict[str, str] | None:
    """What the list of checksums in a release's folder says, or None if the list is missing or is none."""
    try:
        return checksums((folder / CHECKSUMS).read_text())
    except (OSError, ValueError):
        return None


def class_map_in(text: str | bytes) -> ClassMap:
    """The class map that a release's `class_map.yaml` names.

    Raises CLASS_MAP_MISMATCH if it is none of ours, and FIELD_INVALID if the file says nothing.
    """
    try:
        name = str(yaml.safe_load(text)["name"])
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        message, remedy = "It names no class map.", "Restore it as it was written."
        raise AtlasError(Reason.FIELD_INVALID, message, field=CLASS_MAP, remedy=remedy) from error
    return classmaps.load(name)


def damaged_files(folder: Path) -> list[str]:
    """Files of a release that are missing or no longer have their checksum."""
    sums = listed(folder)
    if sums is None:
        return [CHECKSUMS]
    return [name for name, digest in sums.items() if not (folder / name).is_file() or sha256(folder / name) != digest]


def foreign_files(folder: Path) -> list[str]:
    """What lies in a release's folder and is not of the release, links included."""
    known = {CHECKSUMS, *(listed(folder) or ())}
    entries = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())
    return [name for path in entries if (name := path.relative_to(folder).as_posix()) not in known]


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

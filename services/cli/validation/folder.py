"""A folder of cases: which they are, what its own lists say, and the faults of all of them."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.cli.release.present import CHECKSUMS, CLASS_MAP, altered_files, class_map_of, foreign_files, missing_files
from services.cli.validation.case import CT, MASKS, case_faults
from services.cli.validation.faults import Fault, Kind, refused
from services.core.classmaps import ClassMap
from services.core.errors import AtlasError, Reason

_AT_ONCE = min(os.cpu_count() or 1, 4)


def cases(folder: Path) -> list[Path]:
    """The folders that hold a CT or masks, by name; `folder` itself if it is one. Raises FIELD_INVALID if none does."""
    found = [path for path in sorted(folder.iterdir()) if _is_case(path)] if folder.is_dir() else []
    if not found and _is_case(folder):
        return [folder]
    if not found:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"No folder in it has a {CT} or {MASKS}.",
            field=str(folder),
            remedy="Name a folder of cases in the BDMAP layout.",
        )
    return found


def faults(folder: Path, found: list[Path], on_case: Callable[[Path], None] = lambda _: None) -> list[Fault]:
    """The faults of the folder's own lists, then those of its cases in their order. Some cases are read at once."""
    class_map, told = _class_map(folder)
    told += _listed(folder)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for case, its in zip(found, pool.map(lambda case: case_faults(case, class_map), found), strict=True):
            told += its
            on_case(case)
    return told


def _is_case(folder: Path) -> bool:
    return folder.is_dir() and ((folder / CT).exists() or (folder / MASKS).is_dir())


def _listed(folder: Path) -> Iterator[Fault]:
    """What `SHA256SUMS` tells, if there is one."""
    if not (folder / CHECKSUMS).is_file():
        return
    for names, kind, message in (
        (missing_files(folder), Kind.FILE_MISSING, f"{CHECKSUMS} lists it, and it is not there."),
        (altered_files(folder), Kind.FILE_ALTERED, f"It is not the file that {CHECKSUMS} lists."),
        (foreign_files(folder), Kind.FILE_UNLISTED, f"{CHECKSUMS} does not list it."),
    ):
        for name in names:
            yield Fault(name, kind, message, "Restore the release as it was written.")


def _class_map(folder: Path) -> tuple[ClassMap | None, list[Fault]]:
    """The class map that the folder names, if it names one of ours."""
    try:
        return class_map_of(folder), []
    except AtlasError as error:
        return None, [refused(CLASS_MAP, error)]

"""Finds cases on disk: which file is the CT, which are its organs, and what is none of both."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from services.core.classmaps import ClassMap
from services.core.errors import AtlasError, Reason

SUFFIXES = (".nii.gz", ".nii")
_FOREIGN = re.compile(r"[^A-Za-z0-9_.-]+")
_LOOKED_INTO = 32
"""Files of a folder without a case that are opened to tell what it holds."""
_NAMED = 5
"""Folders that one message names."""


@dataclass(frozen=True)
class Refusal:
    """One file or folder that did not go in, and why."""

    path: Path
    error: AtlasError


@dataclass(frozen=True)
class Case:
    """One CT with what its source labelled."""

    volume_id: str
    ct: Path
    masks: dict[str, Path] = field(default_factory=dict)
    """One binary mask per organ."""
    label_map: Path | None = None
    """A label map with the class map's ids, where there are no masks."""
    ignored: tuple[Path, ...] = ()
    """Label files of organs that the class map does not know."""
    refused: tuple[Refusal, ...] = ()
    """Label files that cannot be read at all; with them the case is refused."""
    source_id: str = ""
    """The case's id in its dataset; empty means the volume's."""
    hospital: str = ""
    licence: str = ""
    phase: str = ""
    """What the dataset tells of this case; empty where it tells nothing."""
    dataset_map: str = ""
    """The dataset in whose words and ids the labels speak; empty means those of the class map."""


def discover(path: Path, class_map: ClassMap) -> Iterator[Case | Refusal]:
    """The cases that `path` names: a CT file, a case folder, or a folder of case folders, in the order of names.

    Nothing outside the named folder is read, wherever links inside it lead.
    """
    try:
        yield from _discover(path, class_map)
    except OSError as error:
        yield Refusal(path, unreadable(error))


def unreadable(error: OSError) -> AtlasError:
    """The refusal of a file or folder that the system does not let us read."""
    return AtlasError(
        Reason.FIELD_INVALID,
        f"It cannot be read: {error.strerror or type(error).__name__}.",
        remedy="Check its permissions and the disk.",
    )


def _discover(path: Path, class_map: ClassMap) -> Iterator[Case | Refusal]:
    root = path.resolve()
    if path.name.startswith("._"):
        yield Refusal(path, _apple_double())
    elif not root.exists():
        yield Refusal(path, _missing(path))
    elif root.is_file():
        yield Case(_file_id(path), path)
    elif _ct_of(root):
        yield _case(path, root, class_map)
    else:
        yield from _folder_of_cases(path, root, class_map)


def volume_id(name: str) -> str:
    """A resource id out of a file's or folder's name; characters that an id may not have become "-"."""
    cleaned = _FOREIGN.sub("-", name)
    while ".." in cleaned:
        cleaned = cleaned.replace("..", ".")
    return cleaned.lstrip("-_.")[:63].rstrip("-.") or "volume"


def folder_name(folder: Path) -> str:
    """A folder's own name, also where it is named by dots."""
    return folder.resolve().name if folder.name in ("", "..") else folder.name


def stem(path: Path) -> str:
    """A NIfTI file's name without its suffix: the organ, where it is a mask."""
    return next((path.name.removesuffix(s) for s in SUFFIXES if path.name.endswith(s)), path.name)


def twice(organ: str, first: Path) -> AtlasError:
    """The refusal of a second mask of an organ, which `first` has already."""
    return AtlasError(
        Reason.FIELD_INVALID,
        f"{organ} is there twice: {first.name} is a mask of it too.",
        remedy="Remove one of the two files.",
    )


def stored_twice(first: Path) -> AtlasError:
    """The refusal of a file that is there compressed and not, of which `first` is the other."""
    return AtlasError(
        Reason.RESOURCE_CONFLICT,
        f"{first.name} lies beside it, and they may not be the same.",
        remedy="Remove one of the two files.",
    )


def _folder_of_cases(path: Path, root: Path, class_map: ClassMap) -> Iterator[Case | Refusal]:
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = [folder for folder in folders if _ct_of(folder)]
    if not found:
        yield Refusal(path, _no_case(path))
        return
    for file in _nifti_files(path):
        yield Refusal(file, _apple_double() if file.name.startswith("._") else _loose())
    for folder in folders:
        try:
            if not _inside(folder, root):
                yield Refusal(folder, _leads_out())
            elif folder in found:
                yield _case(folder, root, class_map)
            else:
                yield Refusal(folder, _no_case(folder))
        except OSError as error:
            yield Refusal(folder, unreadable(error))


def _case(folder: Path, root: Path, class_map: ClassMap) -> Case | Refusal:
    ct = _ct_of(folder)
    assert ct is not None
    if error := file_error(ct, root):
        return Refusal(ct, error)
    for other in _stored_as(folder, "ct")[1:]:
        return Refusal(other, stored_twice(ct))
    masks: dict[str, Path] = {}
    ignored: list[Path] = []
    refused: list[Refusal] = []
    for file in _nifti_files(folder / "segmentations"):
        organ = stem(file)
        if error := file_error(file, root):
            refused.append(Refusal(file, error))
        elif organ not in class_map.organs:
            ignored.append(file)
        elif organ in masks:
            refused.append(Refusal(file, twice(organ, masks[organ])))
        else:
            masks[organ] = file
    maps = _stored_as(folder, "combined_labels")
    label_map = maps[0] if maps else None
    if label_map and (masks or ignored or refused):
        # The per-organ masks are the truth; the map was painted from them and has lost what overlaps.
        ignored.append(label_map)
        label_map = None
    if label_map and (error := file_error(label_map, root)):
        refused.append(Refusal(label_map, error))
        label_map = None
    elif label_map and len(maps) > 1:
        refused.append(Refusal(maps[1], stored_twice(label_map)))
    return Case(volume_id(folder_name(folder)), ct, masks, label_map, tuple(ignored), tuple(refused))


def _ct_of(folder: Path) -> Path | None:
    """The case's CT, also if it is a broken link: that is an error to report, not a missing CT."""
    return next(iter(_stored_as(folder, "ct")), None)


def _stored_as(folder: Path, name: str) -> list[Path]:
    """The files of that name, compressed and not; broken links too."""
    return [path for suffix in SUFFIXES if os.path.lexists(path := folder / f"{name}{suffix}")]


def _nifti_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.name.endswith(SUFFIXES))


def _file_id(path: Path) -> str:
    name = stem(path)
    return volume_id(path.resolve().parent.name if name == "ct" else name)


def _inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root)


def file_error(path: Path, root: Path) -> AtlasError | None:
    """Why this file of a case cannot even be opened, if so. What is inside is for storage to judge."""
    if path.name.startswith("._"):
        return _apple_double()
    if not path.exists():
        return _missing(path)
    if not _inside(path, root):
        return _leads_out()
    if path.is_dir():
        return AtlasError(
            Reason.FILE_NOT_NIFTI, "This is a folder, not a file.", remedy="Import the file inside it by its own path."
        )
    return None


def _apple_double() -> AtlasError:
    return AtlasError(
        Reason.FILE_NOT_NIFTI,
        "This is an AppleDouble file, which macOS leaves beside the real one.",
        remedy="Delete it (`find . -name '._*' -delete`) and import the file without the leading '._'.",
    )


def _loose() -> AtlasError:
    return AtlasError(
        Reason.FIELD_INVALID,
        "This file lies beside folders of cases.",
        remedy="Import it by its own path, or lay it out as <case>/ct.nii.gz.",
    )


def _missing(path: Path) -> AtlasError:
    if path.is_symlink():
        return AtlasError(
            Reason.RESOURCE_NOT_FOUND,
            "This link leads to nothing.",
            remedy="Fetch what it stands for (for example `git annex get`), or mend the link.",
        )
    return AtlasError(Reason.RESOURCE_NOT_FOUND, "There is no such file or folder.", remedy="Check the path.")


def _leads_out() -> AtlasError:
    return AtlasError(
        Reason.NAME_INVALID,
        "This link leads out of the folder that is imported.",
        remedy="Copy what it stands for into the folder, or import that place by its own path.",
    )


def _no_case(folder: Path) -> AtlasError:
    loose = [p.name for p in folder.iterdir() if p.name.endswith(SUFFIXES)]
    if dicom := next((p.name for p in sorted(folder.iterdir())[:_LOOKED_INTO] if _is_dicom(p)), ""):
        return AtlasError(
            Reason.FILE_NOT_NIFTI,
            f"This folder holds DICOM files (such as {dicom}).",
            remedy="Convert the series to NIfTI, for example with dcm2niix, and import that.",
        )
    if deeper := sorted(path.name for path in folder.iterdir() if _holds_cases(path, folder)):
        return AtlasError(
            Reason.FOLDER_EMPTY,
            f"This folder holds no case itself; what it holds are folders of cases: {', '.join(deeper[:_NAMED])}.",
            remedy=f"Import the one that you mean: {folder / deeper[0]}.",
        )
    if not loose:
        return AtlasError(
            Reason.FOLDER_EMPTY,
            "This folder holds no case." if any(folder.iterdir()) else "This folder is empty.",
            remedy="A case is a folder with ct.nii.gz and, where organs are labelled, segmentations/<organ>.nii.gz.",
        )
    return AtlasError(
        Reason.FOLDER_EMPTY,
        f"This folder holds no case, although it has {len(loose)} NIfTI files (such as {sorted(loose)[0]}).",
        remedy="Name its dataset (`atlas datasets` lists those known), or lay each CT out as <case>/ct.nii.gz.",
    )


def _holds_cases(path: Path, folder: Path) -> bool:
    """Whether something in a folder is a folder of cases, and lies there."""
    try:
        return path.is_dir() and _inside(path, folder.resolve()) and any(_ct_of(inside) for inside in path.iterdir())
    except OSError:
        return False


def _is_dicom(file: Path) -> bool:
    """Whether a file begins as DICOM files do, whatever it is called."""
    if not file.is_file() or file.name.endswith(SUFFIXES):
        return False
    try:
        with file.open("rb") as opened:
            return opened.read(132)[128:] == b"DICM"
    except OSError:
        return False

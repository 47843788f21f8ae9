"""The cases of a folder in the BDMAP layout, ours or anybody's, with what its own lists tell of them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.cli import csvtable
from services.cli.ingest.discover import Case, Refusal, discover
from services.cli.release.metadata import METADATA
from services.cli.release.present import CLASS_MAP, class_map_in
from services.cli.release.split import TEST
from services.core import classmaps
from services.core.classmaps import ClassMap
from services.core.errors import AtlasError, Reason

_ORIGINS = ("source", "revision", "ai")


@dataclass(frozen=True)
class LaidOut:
    """One case on disk."""

    name: str
    ct: Path
    masks: dict[str, Path]
    """By organ; what shows where masks overlap comes first: by origin, as far as it is told, then by number."""
    is_test: bool


def read_cases(folder: Path) -> tuple[ClassMap, list[LaidOut | Refusal]]:
    """The class map of a folder, and its cases in the order of names.

    The class map is the one that the folder names, or else the one that fits its masks best. A case is for training
    unless `metadata.csv` says otherwise. Raises CLASS_MAP_MISMATCH or FIELD_INVALID.
    """
    if folder.is_file():
        message, remedy = "This is a file.", "Name a folder of cases; unpack a tar file first."
        raise AtlasError(Reason.FIELD_INVALID, message, field=str(folder), remedy=remedy)
    path = folder / CLASS_MAP
    class_map = class_map_in(path.read_bytes()) if path.is_file() else classmaps.fitting(_mask_names(folder))
    testing = _testing(folder / METADATA)
    found = discover(folder, class_map)
    return class_map, [case if isinstance(case, Refusal) else _laid_out(case, class_map, testing) for case in found]


def _laid_out(case: Case, class_map: ClassMap, testing: set[str]) -> LaidOut | Refusal:
    if case.refused:
        return case.refused[0]
    folder = case.ct.parent
    told = _origins(folder / "provenance.json")
    order = sorted(case.masks, key=lambda organ: (told.get(organ, len(_ORIGINS)), class_map.id_of(organ)))
    return LaidOut(folder.name, case.ct, {organ: case.masks[organ] for organ in order}, folder.name in testing)


def _mask_names(folder: Path) -> Iterator[str]:
    return (path.name.split(".")[0] for path in folder.glob("*/segmentations/*.nii*"))


def _testing(path: Path) -> set[str]:
    """The cases that the table of a release keeps for testing."""
    if not path.is_file():
        return set()
    return {row.get("case", "") for row in csvtable.read(path) if row.get("split") == TEST}


def _origins(path: Path) -> dict[str, int]:
    """Rank of the origin of each organ's mask, as far as the case tells it; a lower one shows over a higher one."""
    try:
        organs = json.loads(path.read_text())["organs"]
        return {organ: _ORIGINS.index(told["origin"]) for organ, told in organs.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}

"""Finds the masks of cases in a folder, and what is known of each case."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from services.cli import csvtable
from services.cli.ingest.discover import SUFFIXES, stem
from services.core.classmaps import ClassMap
from services.core.errors import AtlasError, Reason

_NO_ORGANS = frozenset({"ct", "combined_labels"})
FACTS = ("dataset", "phase")
"""What cases are grouped by, besides their spacing."""
METADATA = "metadata.csv"
"""Table of the cases of a release."""
_CASE_COLUMNS = ("case", "case_id", "bdmap_id", "bdmap id", "id")


@dataclass(frozen=True)
class CaseMasks:
    """The masks of one case: one file an organ, or where there is none, one label map with the class map's ids."""

    masks: dict[str, Path]
    label_map: Path | None = None
    facts: dict[str, str] = field(default_factory=dict)


def find_cases(root: Path, class_map: ClassMap) -> dict[str, CaseMasks]:
    """The cases in `root` by name: folders of masks, flat or with `segmentations/` as in the BDMAP layout.

    A folder that holds masks itself is one case, named "". Files that no organ of the class map is named after are left
    out. Raises FOLDER_EMPTY if there is nothing to compare.
    """
    single = _case(root, class_map)
    if single:
        return {"": single}
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    cases = {folder.name: case for folder in folders if (case := _case(folder, class_map))}
    if not cases:
        raise AtlasError(
            Reason.FOLDER_EMPTY,
            "There are no masks in it.",
            field=str(root),
            remedy="Name a folder with <case>/segmentations/<organ>.nii.gz or <case>/<organ>.nii.gz.",
        )
    return cases


def read_metadata(path: Path) -> dict[str, dict[str, str]]:
    """The facts of cases in a CSV file with a column `case` (or `BDMAP ID`), and `dataset` or `phase` where there are.

    Raises FIELD_INVALID if it has no column of cases, or is no table.
    """
    rows = [{key.strip().lower(): value.strip() for key, value in row.items()} for row in csvtable.read(path)]
    names = rows[0].keys() if rows else ()
    column = next((name for name in _CASE_COLUMNS if name in names), None)
    if column is None:
        raise AtlasError(
            Reason.FIELD_INVALID,
            "It is no table of cases.",
            field=str(path),
            remedy=f'Give it a column "case", and {" or ".join(FACTS)}.',
        )
    return {row[column]: {fact: row[fact] for fact in FACTS if row.get(fact)} for row in rows}


def _case(folder: Path, class_map: ClassMap) -> CaseMasks | None:
    masks = _masks(folder / "segmentations", class_map) or _masks(folder, class_map)
    label_map = next((p for s in SUFFIXES if (p := folder / f"combined_labels{s}").is_file()), None)
    if not masks and label_map is None:
        return None
    return CaseMasks(masks, None if masks else label_map, _provenance(folder))


def _masks(folder: Path, class_map: ClassMap) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    files = sorted(p for p in folder.iterdir() if p.name.endswith(SUFFIXES) and not p.name.startswith("."))
    return {stem(p): p for p in files if stem(p) in class_map.organs and stem(p) not in _NO_ORGANS}


def _provenance(folder: Path) -> dict[str, str]:
    """Facts out of the `provenance.json` of a release."""
    try:
        told = json.loads((folder / "provenance.json").read_text())
        dataset = told["source"]["dataset"]
        phase = told.get("phase")
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {name: value for name, value in (("dataset", dataset), ("phase", phase)) if isinstance(value, str) and value}

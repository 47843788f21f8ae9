"""One row for each case and organ: how far the two sets of labels agree."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from services.cli.comparison.cases import CaseMasks
from services.core import metrics, nifti
from services.core.boxes import EMPTY, Mask, masks_of
from services.core.classmaps import ClassMap
from services.core.errors import AtlasError
from services.core.geometry import Geometry, mismatch
from services.core.metrics import Agreement

T = TypeVar("T")

_WORKERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Row:
    """One organ of one case. `spacing_mm` is along i, j and k, empty where it is not known."""

    case: str
    organ: str
    agreement: Agreement
    facts: Mapping[str, str]
    spacing_mm: tuple[float, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """A case that could not be compared, and why."""

    case: str
    error: AtlasError


Tolerance = Callable[[str], float]
"""Tolerance of NSD in mm by organ."""


def compare_cases(
    first: Mapping[str, CaseMasks],
    second: Mapping[str, CaseMasks],
    class_map: ClassMap,
    organs: list[str],
    tolerance_mm: Tolerance,
) -> Iterator[list[Row] | Refusal]:
    """The rows of each case that both have, in the order of names; `organs` empty means all that both have."""

    def run(case: str) -> list[Row] | Refusal:
        try:
            return _rows(case, first[case], second[case], class_map, organs, tolerance_mm)
        except AtlasError as error:
            return Refusal(case, error)

    with ThreadPoolExecutor(_WORKERS) as pool:
        yield from pool.map(run, sorted(set(first) & set(second)))


def _rows(
    case: str,
    first: CaseMasks,
    second: CaseMasks,
    class_map: ClassMap,
    organs: list[str],
    tolerance_mm: Tolerance,
) -> list[Row]:
    ours, theirs = _Reader(first, class_map), _Reader(second, class_map)
    rows = []
    for organ in (o for o in class_map.organs if o in ours.organs and o in theirs.organs):
        if organs and organ not in organs:
            continue
        (one, grid, path), (other, other_grid, other_path) = ours.mask(organ), theirs.mask(organ)
        # Writers round affines; a hundredth of a mm is no other place.
        if not grid.is_close(other_grid):
            raise mismatch(grid, other_grid, first_name=str(path), second_name=str(other_path))
        found = metrics.agreement(
            one,
            other,
            grid.spacing_mm,
            tolerance_mm=tolerance_mm(organ),
            voxel_volume_mm3=grid.voxel_volume_mm3,
        )
        rows.append(Row(case, organ, found, first.facts | second.facts, grid.spacing_mm))
    return rows


class _Reader:
    """The masks of one case, read when they are asked for; those of a label map stay, each in its box."""

    def __init__(self, case: CaseMasks, class_map: ClassMap) -> None:
        self._case, self._class_map = case, class_map
        self.organs = set(class_map.organs) if case.label_map else set(case.masks)
        if case.label_map:
            labels = _at(case.label_map, nifti.read_labels)
            self._geometry, self._by_id = labels.geometry, masks_of(labels.voxels)

    def mask(self, organ: str) -> tuple[Mask, Geometry, Path]:
        """The mask, its grid and its file."""
        if self._case.label_map:
            mask = self._by_id.get(self._class_map.id_of(organ), EMPTY)
            return mask.whole(self._geometry.array_shape), self._geometry, self._case.label_map
        path = self._case.masks[organ]
        read = _at(path, nifti.read_mask)
        return read.voxels, read.geometry, path


def _at(path: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(path)
    except AtlasError as error:
        raise error.at(str(path)) from error


def thickness_group(spacing_mm: tuple[float, ...]) -> str:
    """The group of a case by its largest voxel size, which is nearly always the distance of slices."""
    if not spacing_mm:
        return ""
    largest = max(spacing_mm)
    return "up to 1.5 mm" if largest <= 1.5 else "1.5 to 3 mm" if largest <= 3 else "over 3 mm"


def is_absent(row: Row) -> bool:
    """Whether the reference has no voxel of the organ: such a row is counted and has no part in any mean."""
    return row.agreement.first_ml == 0


def is_missed(row: Row) -> bool:
    """Whether only the reference has the organ: its DSC and NSD are 0, and it has no distance."""
    return row.agreement.first_ml > 0 and math.isinf(row.agreement.hd95_mm)

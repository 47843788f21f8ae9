"""Cases of a folder that show the same scan, and whether a split keeps them together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.cli import csvtable
from services.cli.release.metadata import METADATA
from services.cli.validation.case import Scan, Seen
from services.cli.validation.faults import Fault, Kind
from services.cli.validation.tree import CT, Tree
from services.core.errors import AtlasError
from services.core.fingerprint import Sought, sums


def twins(cases: Sequence[Seen], tree: Tree) -> Iterator[Fault]:
    """Every case that shows the same scan as earlier ones, with the first across the split, or else the first of all.

    Those of the same voxels come before others. One across the split is grave. The split is that of `metadata.csv` with
    the columns `case` and `split`.
    """
    sides = _sides(tree.text(METADATA) or "")
    earlier: list[_Known] = []
    for case in cases:
        if case.scan:
            known = _Known(case.name, case.scan, sums(case.scan.profile), sides.get(case.name, ""))
            if twin := _twin(known, earlier):
                yield _fault(known, *twin)
            earlier.append(known)


@dataclass(frozen=True)
class _Known:
    """The scan of a case, the sums of its profile, and its side of the split or ""."""

    name: str
    scan: Scan
    sums: npt.NDArray[np.float64]
    side: str

    def is_across(self, other: "_Known") -> bool:
        return bool(self.side and other.side and self.side != other.side)


def _twin(case: _Known, earlier: Sequence[_Known]) -> tuple[_Known, str] | None:
    """The case that another is told with, and what both show."""
    first: tuple[_Known, str] | None = None
    sought = Sought.of(case.scan.profile)
    for other in sorted(earlier, key=lambda other: other.scan.digest != case.scan.digest):
        if first and not case.is_across(other):
            continue
        if what := _shared(case, sought, other):
            first = first or (other, what)
            if case.is_across(other):
                return other, what
    return first


def _shared(case: _Known, sought: Sought, other: _Known) -> str:
    """What two cases show both; empty if they are not of one scan."""
    if case.scan.digest == other.scan.digest:
        return "the same voxels"
    match = sought.within(other.scan.profile, other.sums)
    return f"the same scan, over {match.overlap_mm:.0f} mm of the body," if match else ""


def _fault(case: _Known, other: _Known, what: str) -> Fault:
    across = case.is_across(other)
    where = f" One is for {case.side}, the other for {other.side}." if across else ""
    remedy = "Put both on one side of the split." if across else "Keep them on one side of a split, or drop one."
    kind = Kind.SPLIT_LEAKS if across else Kind.SCAN_REPEATED
    return Fault(f"{case.name}/{CT}", kind, f"It shows {what} as {other.name}.{where}", remedy, grave=across)


def _sides(table: str) -> dict[str, str]:
    try:
        rows = csvtable.parse(table, METADATA)
    except AtlasError:
        # Its fault is told with the folder's lists.
        return {}
    return {row["case"]: row["split"] for row in rows if row.get("case") and row.get("split")}

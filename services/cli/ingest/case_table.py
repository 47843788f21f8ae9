"""What a CSV file tells of a dataset's cases: hospital, licence and phase."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from services.cli import csvtable
from services.core.datasets import Dataset, Table
from services.core.errors import AtlasError, Reason

_OWN = Table("", ",", "case", "hospital", "licence", "phase")
_MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class CaseFacts:
    """What is told of one case; empty where nothing is."""

    hospital: str = ""
    licence: str = ""
    phase: str = ""


def read_table(root: Path, dataset: Dataset, own: Path | None) -> dict[str, CaseFacts]:
    """Facts by case id: from the file that the user names, else from the dataset's own, if it lies in the folder.

    The user's has the columns case, hospital, licence and phase, of which the first is required. Raises FIELD_INVALID.
    """
    if own is not None:
        return _read(own, _OWN)
    if dataset.table and (path := root / dataset.table.file).is_file():
        return _read(path, dataset.table)
    return {}


def unmatched(own: Path, cases: Collection[str]) -> list[str]:
    """The ids in the user's table that are none of `cases`. Raises FIELD_INVALID if all are, for then it is the ids'
    spelling: what was told of a case cannot be added once it is in storage."""
    told = _read(own, _OWN)
    left = [case for case in told if case not in cases]
    if left and cases and len(left) == len(told):
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"No case that was found has an id of this table, such as {left[0]}.",
            field=str(own),
            remedy=f"Write ids as the dataset has them, such as {min(cases)}.",
        )
    return left


def _read(path: Path, table: Table) -> dict[str, CaseFacts]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _bad(path, "it is larger than a table of cases can be")
        rows = csvtable.read(path, table.separator)
    except OSError as error:
        raise _bad(path, f"{error.strerror or type(error).__name__}") from error
    if not rows:
        raise _bad(path, "it has no rows")
    if table.case not in rows[0]:
        raise _bad(path, f"it has no column {table.case!r}")
    return {row[table.case].strip(): _facts(row, table) for row in rows if row[table.case]}


def _facts(row: dict[str, str], table: Table) -> CaseFacts:
    columns = (table.hospital, table.licence, table.phase)
    # A table's first column may have no name: no column is not that one.
    return CaseFacts(*(row.get(column, "").strip() if column else "" for column in columns))


def _bad(path: Path, why: str) -> AtlasError:
    return AtlasError(
        Reason.FIELD_INVALID,
        f"This is no table of cases: {why}.",
        field=str(path),
        remedy="Give a CSV file with the columns case, hospital, licence and phase.",
    )

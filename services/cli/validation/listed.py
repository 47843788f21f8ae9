"""The cases that a folder's own lists tell of, `release.json` and `metadata.csv`, against those that are there."""

import json
from collections.abc import Iterator, Sequence

from services.cli import csvtable
from services.cli.release.metadata import METADATA
from services.cli.release.present import CHECKSUMS, RECORD
from services.cli.validation.faults import Fault, Kind, refused
from services.cli.validation.tree import Tree
from services.core.errors import AtlasError, Reason

RESTORE = "Restore the release as it was written."


def lists(tree: Tree, cases: Sequence[str]) -> Iterator[Fault]:
    """Cases that a list names and that are not there, cases that it does not name, and lists that cannot be read.

    In a release of ours that is grave; anybody's table may tell of more cases than somebody fetched, which is odd.
    """
    is_release = RECORD in tree.files
    if is_release and CHECKSUMS not in tree.files:
        yield Fault(CHECKSUMS, Kind.FILE_MISSING, "A release lists its files in it, and it is not there.", RESTORE)
    for name, read in ((RECORD, _recorded), (METADATA, _in_table)):
        if (text := tree.text(name)) is None:
            continue
        try:
            told = read(text)
        except AtlasError as error:
            yield refused(name, error)
            continue
        if told is not None:
            yield from _compared(name, told, set(cases), grave=is_release)


def _compared(name: str, told: set[str], there: set[str], *, grave: bool) -> Iterator[Fault]:
    for case in sorted(told - there):
        yield Fault(case, Kind.FILE_MISSING, f"{name} lists this case, and it is not there.", RESTORE, grave)
    for case in sorted(there - told):
        yield Fault(case, Kind.FILE_UNLISTED, f"{name} does not list this case.", RESTORE, grave)


def _recorded(text: str) -> set[str]:
    try:
        return {str(case["case"]) for case in json.loads(text)["cases"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AtlasError(Reason.FIELD_INVALID, "It lists no cases.", field=RECORD, remedy=RESTORE) from error


def _in_table(text: str) -> set[str] | None:
    """The cases of a table, or None if it has no column of that name."""
    rows = csvtable.parse(text, METADATA)
    return {row["case"] for row in rows if row["case"]} if rows and "case" in rows[0] else None

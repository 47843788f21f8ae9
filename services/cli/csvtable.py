"""CSV tables as people send them: read in whole, or refused by name."""

import csv
import io
from pathlib import Path

from services.core.errors import AtlasError, Reason

_UTF8 = "Save it as CSV in UTF-8."


def read(path: Path, separator: str = ",") -> list[dict[str, str]]:
    """The rows of a file; see `parse`. Raises FIELD_INVALID too if it is not UTF-8."""
    try:
        return parse(path.read_bytes().decode(), str(path), separator)
    except UnicodeDecodeError as error:
        raise AtlasError(Reason.FIELD_INVALID, "It is no text in UTF-8.", field=str(path), remedy=_UTF8) from error


def parse(text: str, name: str, separator: str = ",") -> list[dict[str, str]]:
    """Rows by column; where a row is too short the rest is empty, and what stands beyond the last column is left out.

    A mark of byte order at the start, as spreadsheets write it, is no part of the first column.

    Raises FIELD_INVALID, with `name` as the field, if it is no CSV, or has a cell of more than 131,072 characters.
    """
    try:
        rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=separator))
    except csv.Error as error:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"It is no table: {error}.",
            field=name,
            remedy="Save it as CSV, and close its quotes.",
        ) from error
    columns = rows[0] if rows else []
    return [dict(zip(columns, row + [""] * (len(columns) - len(row)), strict=False)) for row in rows[1:] if row]

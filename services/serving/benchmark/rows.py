"""What was measured, a line a case and organ, in files that are only appended to: what is there is not tested again."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

TOLERANCE_MM = 1.0
"""Of NSD, for all organs, as on the poster."""


@dataclass(frozen=True)
class Row:
    """One organ of one case; `seconds` and `peak_mb` are those of the whole case."""

    organ: str
    dsc: float
    nsd: float
    seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Measured(Row):
    """A row with its place: the network, the dataset that it was trained on, the test set and the case."""

    network: str = ""
    trained_on: str = ""
    tested_on: str = ""
    case: str = ""


class RowFile:
    """The rows of one trained network on one test set, a JSON line a case."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cases: dict[str, list[Row]] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # cut off in the middle of a line: the case is tested again
            self._cases[entry["case"]] = [Row(**row) for row in entry["rows"]]

    def __contains__(self, case: str) -> bool:
        return case in self._cases

    def add(self, case: str, rows: Iterable[Row]) -> None:
        """Append a case."""
        self._cases[case] = list(rows)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps({"case": case, "rows": [asdict(row) for row in self._cases[case]]}) + "\n")

    def measured(self, network: str, trained_on: str, tested_on: str) -> list[Measured]:
        """All rows, each with its place."""
        return [
            Measured(**asdict(row), network=network, trained_on=trained_on, tested_on=tested_on, case=case)
            for case, rows in self._cases.items()
            for row in rows
        ]

"""The comparison as tables, as JSON and as CSV."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from services.cli.comparison.rows import Row
from services.cli.comparison.summary import (
    MEASURES,
    OrganSummary,
    finite,
    mean_over_organs,
    measures,
    summarise_groups,
    summarise_organs,
)
from services.cli.output import table
from services.core.metrics.summary import Summary

_COLUMNS = (
    "case", "organ", "dsc", "nsd", "tolerance_mm", "hd95_mm", "volume_difference_ml", "first_ml", "second_ml",
    "spacing_mm", "dataset", "phase",
)  # fmt: skip
_HEADS = (
    "Cases", "DSC %", "median", "95 % CI", "NSD %", "median", "95 % CI", "HD95 mm", "Volume ml",
    "Absent", "Extra", "Missed",
)  # fmt: skip


def organ_table(rows: Sequence[Row]) -> Table:
    """Mean and standard deviation per organ, and over organs."""
    return _table(summarise_organs(rows), "Organ")


def group_tables(rows: Sequence[Row]) -> list[tuple[str, Table]]:
    """One table a grouping and group, with its title."""
    return [
        (f"{grouping}: {group}", _table(organs, "Organ"))
        for grouping, groups in summarise_groups(rows).items()
        for group, organs in groups.items()
    ]


def as_data(rows: Sequence[Row]) -> dict[str, Any]:
    """Everything, for programs; what is no number is null."""
    organs = summarise_organs(rows)
    return {
        "rows": [finite(_record(row)) for row in rows],
        "organs": [organ.as_data() for organ in organs],
        "over_organs": {name: _without_interval(mean_over_organs(organs, name)) for name in ("dsc", "nsd")},
        "groups": {
            grouping: {group: [organ.as_data() for organ in organs] for group, organs in groups.items()}
            for grouping, groups in summarise_groups(rows).items()
        },
    }


def _without_interval(over_organs: Summary) -> dict[str, Any]:
    """Organs are no sample of organs, so their mean has no interval."""
    return finite({name: value for name, value in vars(over_organs).items() if name not in ("low", "high")})


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """One line a row; a measure that is no number is an empty field, an infinite one "inf"."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _field(value) for name, value in _record(row).items()})


def _record(row: Row) -> dict[str, Any]:
    found = row.agreement
    return {
        "case": row.case,
        "organ": row.organ,
        **measures(row),
        "tolerance_mm": found.tolerance_mm,
        "first_ml": found.first_ml,
        "second_ml": found.second_ml,
        "spacing_mm": " ".join(f"{size:.6g}" for size in row.spacing_mm),
        **{fact: row.facts.get(fact, "") for fact in ("dataset", "phase")},
    }


def _field(value: object) -> object:
    return "" if isinstance(value, float) and math.isnan(value) else value


def _table(organs: Sequence[OrganSummary], first: str) -> Table:
    result = table(first, *_HEADS, right=_HEADS)
    for organ in organs:
        dsc, nsd, hd95, volume = (organ.measures[name] for name in MEASURES)
        counts = (str(n) if n else "" for n in (organ.absent, organ.extra, organ.missed))
        cells = (
            *_in_percent(dsc),
            *_in_percent(nsd),
            _spread(hd95),
            _spread(volume),
        )
        result.add_row(organ.organ, str(organ.cases), *cells, *counts)
    if len(organs) > 1:
        means = [mean_over_organs(organs, name) for name in MEASURES[:2]]
        result.add_row("mean over organs", "", _spread(means[0], True), "", "", _spread(means[1], True), "", "")
    return result


def _in_percent(summary: Summary) -> tuple[str, str, str]:
    """Mean and standard deviation, median, and the interval of the mean."""
    return _spread(summary, True), _number(summary.median, True), _interval(summary)


def _spread(summary: Summary, percent: bool = False) -> str:
    """Mean and standard deviation, in % if `percent`."""
    if not summary.count:
        return "-"
    spread = "" if math.isnan(summary.sd) else f" +- {_number(summary.sd, percent)}"
    return _number(summary.mean, percent) + spread


def _interval(summary: Summary) -> str:
    return "-" if math.isnan(summary.low) else f"{_number(summary.low, True)} to {_number(summary.high, True)}"


def _number(value: float, percent: bool = False) -> str:
    return "-" if math.isnan(value) else f"{value * (100 if percent else 1):.1f}"

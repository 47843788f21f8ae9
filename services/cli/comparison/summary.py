"""What the rows say together: per organ, and per organ within groups of cases."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from services.cli.comparison.cases import FACTS
from services.cli.comparison.rows import Row, is_absent, is_missed, thickness_group
from services.core.metrics.summary import Summary, summarise

MEASURES = ("dsc", "nsd", "hd95_mm", "volume_difference_ml")
_POSSIBLE = {"dsc": (0.0, 1.0), "nsd": (0.0, 1.0), "hd95_mm": (0.0, math.inf)}
"""The least and largest value of those measures that have one."""
GROUPINGS = (*FACTS, "spacing")


@dataclass(frozen=True)
class OrganSummary:
    """One organ over some cases. Cases in which the reference has no voxel of it are counted, and have no part in
    `measures`; those in which only the reference has it count as DSC and NSD 0 and have no HD95.
    """

    organ: str
    cases: int
    """Cases in which the reference has the organ."""
    absent: int
    """Cases in which the reference has no voxel of it."""
    extra: int
    """Those of the absent in which the other labels have some."""
    missed: int
    """Cases in which only the reference has it."""
    measures: Mapping[str, Summary]

    def as_data(self) -> dict[str, Any]:
        """JSON data; what is not a number is null."""
        counts = {"cases": self.cases, "absent": self.absent, "extra": self.extra, "missed": self.missed}
        return {"organ": self.organ, **counts, **{m: finite(asdict(s)) for m, s in self.measures.items()}}


def summarise_organs(rows: Sequence[Row]) -> list[OrganSummary]:
    """One summary an organ, in the order in which organs first come."""
    return [_organ(organ, [r for r in rows if r.organ == organ]) for organ in dict.fromkeys(r.organ for r in rows)]


def summarise_groups(rows: Sequence[Row]) -> dict[str, dict[str, list[OrganSummary]]]:
    """Per grouping ("dataset", "phase", "spacing") and group the summaries of its organs.

    A grouping is left out unless it tells cases apart; cases of which nothing is known are the group "unknown".
    """
    result = {}
    for grouping in GROUPINGS:
        groups: dict[str, list[Row]] = {}
        for row in rows:
            groups.setdefault(_group(row, grouping) or "unknown", []).append(row)
        if len(groups) > 1:
            result[grouping] = {name: summarise_organs(groups[name]) for name in sorted(groups)}
    return result


def mean_over_organs(organs: Iterable[OrganSummary], measure: str) -> Summary:
    """The mean of the organs' means, as benchmarks print mDSC and mNSD; each organ counts alike."""
    return summarise([organ.measures[measure].mean for organ in organs])


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same with None for what is no finite number, which JSON cannot say."""
    return {k: None if isinstance(v, float) and not abs(v) < float("inf") else v for k, v in values.items()}


def measures(row: Row) -> dict[str, float]:
    """The measures of one row by name."""
    return {name: float(getattr(row.agreement, name)) for name in MEASURES}


def _organ(organ: str, rows: Sequence[Row]) -> OrganSummary:
    present = [row for row in rows if not is_absent(row)]
    return OrganSummary(
        organ,
        cases=len(present),
        absent=len(rows) - len(present),
        extra=sum(is_absent(row) and row.agreement.second_ml > 0 for row in rows),
        missed=sum(is_missed(row) for row in present),
        measures={name: _summarised(name, [measures(row)[name] for row in present]) for name in MEASURES},
    )


def _summarised(measure: str, values: Sequence[float]) -> Summary:
    return summarise(values, within=_POSSIBLE.get(measure, (-math.inf, math.inf)))


def _group(row: Row, grouping: str) -> str:
    return thickness_group(row.spacing_mm) if grouping == "spacing" else row.facts.get(grouping, "")

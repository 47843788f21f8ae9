"""The benchmark's table, as Markdown, CSV and a plot."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from services.core.metrics.summary import FEW, Summary
from services.serving.benchmark.rows import TOLERANCE_MM, Measured
from services.serving.benchmark.statistics import MEAN, MEASURES, Paired, compared, grouped, spread


@dataclass(frozen=True)
class Facts:
    """What the reader of a table must know beside its figures."""

    a: str
    b: str
    tested_on: Sequence[str]
    """Test sets, in the order of the table."""
    cases: Mapping[str, int]
    """Training and test cases by what they are called in the table."""
    budget: str
    device: str
    notes: Sequence[str] = ()


def write(rows: Sequence[Measured], facts: Facts, folder: Path) -> Path:
    """Write benchmark.md, cases.csv, comparisons.csv and benchmark.png into `folder`, and return the first."""
    pairs = compared(rows, facts.a, facts.b)
    _write_cases(folder / "cases.csv", rows)
    _write_comparisons(folder / "comparisons.csv", pairs)
    _plot(folder / "benchmark.png", rows, facts)
    path = folder / "benchmark.md"
    path.write_text(markdown(rows, pairs, facts), encoding="utf-8")
    return path


def markdown(rows: Sequence[Measured], pairs: Sequence[Paired], facts: Facts) -> str:
    """The whole page."""
    sizes = ", ".join(f"{name}: {count}" for name, count in facts.cases.items())
    parts = [
        "# Benchmark",
        f"Each network was trained on **a** ({facts.a}) and on **b** ({facts.b}), {facts.budget} "
        f"each, and tested on cases that neither training saw. Device: {facts.device}. Cases: {sizes}.",
        f"mDSC and mNSD (tolerance {TOLERANCE_MM:g} mm) in %, mean ± sd over cases of the mean over organs; an organ "
        "that the truth has no voxel of is left out. The difference is b minus a on the same cases with its 95 % "
        f"interval (Student's t, from {FEW} cases on a percentile bootstrap); p is of Wilcoxon's signed-rank test, "
        "corrected by Holm over all rows of these tables.",
        *facts.notes,
    ]
    for tested_on in facts.tested_on:
        there = [row for row in rows if row.tested_on == tested_on]
        if there:
            parts += [f"## Tested on {tested_on}", _networks(there, pairs, facts), _organs(there, facts)]
    parts += ["## Cost of inference", _costs(rows)]
    return "\n\n".join(parts) + "\n"


def _networks(rows: Sequence[Measured], pairs: Sequence[Paired], facts: Facts) -> str:
    lines = [
        "| network | a: mDSC | b: mDSC | b - a | p | a: mNSD | b: mNSD | b - a | p |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for network, mine in grouped(rows, lambda row: row.network).items():
        cells = []
        for measure in MEASURES:
            sides = [spread([row for row in mine if row.trained_on == side], measure) for side in (facts.a, facts.b)]
            pair = next(
                (
                    pair
                    for pair in pairs
                    if (pair.network, pair.tested_on, pair.organ, pair.measure)
                    == (network, rows[0].tested_on, MEAN, measure)
                ),
                None,
            )
            cells += [_percent(side) for side in sides]
            cells += [_difference(pair.difference), f"{pair.p_holm:.3f}"] if pair else ["", ""]
        lines.append(f"| {network} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _organs(rows: Sequence[Measured], facts: Facts) -> str:
    organs = sorted({row.organ for row in rows})
    lines = [
        f"| DSC / NSD by organ | {' | '.join(organ.replace('_', ' ') for organ in organs)} |",
        "|---" + "|--:" * len(organs) + "|",
    ]
    for (network, side), mine in _trainings(rows, facts).items():
        cells = [" / ".join(_percent(spread(mine, measure, organ)) for measure in MEASURES) for organ in organs]
        lines.append(f"| {network} on {side} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _trainings(rows: Sequence[Measured], facts: Facts) -> dict[tuple[str, str], list[Measured]]:
    return {
        (network, letter): [row for row in mine if row.trained_on == side]
        for network, mine in grouped(rows, lambda row: row.network).items()
        for letter, side in (("a", facts.a), ("b", facts.b))
    }


def _costs(rows: Sequence[Measured]) -> str:
    lines = ["| network | seconds a case, median | most | memory beyond the CT, most |", "|---|--:|--:|--:|"]
    for network, mine in grouped(rows, lambda row: row.network).items():
        seconds = [row.seconds for row in mine]
        lines.append(
            f"| {network} | {np.median(seconds):.1f} | {max(seconds):.1f} | {max(row.peak_mb for row in mine):.0f} MB |"
        )
    return "\n".join(lines)


def _percent(summary: Summary) -> str:
    if not summary.count:
        return ""
    return f"{100 * summary.mean:.1f}" + ("" if math.isnan(summary.sd) else f"±{100 * summary.sd:.1f}")


def _difference(summary: Summary) -> str:
    if math.isnan(summary.low):
        return f"{100 * summary.mean:+.1f}"
    return f"{100 * summary.mean:+.1f} ({100 * summary.low:+.1f} to {100 * summary.high:+.1f})"


def _write_cases(path: Path, rows: Sequence[Measured]) -> None:
    columns = ("network", "trained_on", "tested_on", "case", "organ", "dsc", "nsd", "seconds", "peak_mb")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _write_comparisons(path: Path, pairs: Sequence[Paired]) -> None:
    columns = ("network", "tested_on", "organ", "measure", "cases", "difference", "low", "high", "p", "p_holm")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for pair in pairs:
            found = pair.difference
            place = (pair.network, pair.tested_on, pair.organ, pair.measure)
            writer.writerow([*place, found.count, found.mean, found.low, found.high, pair.p, pair.p_holm])


def _plot(path: Path, rows: Sequence[Measured], facts: Facts) -> None:
    """mDSC of every network with its interval, a panel a test set."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = [name for name in facts.tested_on if any(row.tested_on == name for row in rows)]
    figure, axes = plt.subplots(
        1, len(shown), figsize=(1 + 3.2 * len(shown), 3.6), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, tested_on in zip(axes[0], shown, strict=True):
        there = [row for row in rows if row.tested_on == tested_on]
        networks = list(grouped(there, lambda row: row.network))
        for offset, letter, side in ((-0.18, "a", facts.a), (0.18, "b", facts.b)):
            found = [
                spread([row for row in there if row.network == name and row.trained_on == side], "dsc")
                for name in networks
            ]
            below = [one.mean - one.low if one.count > 1 else 0 for one in found]
            above = [one.high - one.mean if one.count > 1 else 0 for one in found]
            places = np.arange(len(networks)) + offset
            axis.bar(
                places, [one.mean for one in found], 0.34, yerr=[below, above], capsize=3, label=f"trained on {letter}"
            )
        axis.set(title=tested_on, xticks=range(len(networks)), xticklabels=networks, ylim=(0, 1))
        axis.tick_params(axis="x", rotation=30)
        axis.grid(axis="y", alpha=0.3)
    axes[0][0].set_ylabel("mDSC")
    axes[0][0].legend(fontsize=8, loc="lower left")
    figure.savefig(path, dpi=110)
    plt.close(figure)

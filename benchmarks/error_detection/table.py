"""The figures as Markdown tables, which docs/attention.md holds as they are printed, and as one line of JSON."""

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.error_detection.cases import Array
from benchmarks.error_detection.curves import CONTROL, Gain, area
from benchmarks.error_detection.cuts import SHOWN_FROM, Cut
from benchmarks.error_detection.judging import Counts, Tally
from benchmarks.error_detection.methods import PROFILES
from benchmarks.error_detection.samples import Bin
from benchmarks.error_detection.trial import Trial

FIGURES = ("sensitivity", "precision", "iou10_sensitivity", "iou10_precision", "ml_per_true_ml")
SHARES = np.linspace(0, 1, 11)
_MEASURES = (
    "touch, sens. / prec.",
    "IoU > 0.1, sens. / prec.",
    "voxel, sens. / prec.",
    "voxel Dice",
    "ml per ml of error",
)


def table(title: str, trial: Trial) -> str:
    """One row a method, and why cases were left out."""
    some = next(iter(trial.tallies.values())).total
    head = (
        f"### {title}: {some.cases} cases, {some.error_regions} regions of true error, "
        f"{some.error_ml / max(some.cases, 1):.0f} ml of true error a case"
    )
    rows = [["*paper: other data, its own count*", "*0.78 / 0.83*", "", "", "", "", ""]]
    for name, tally in trial.tallies.items():
        regions = tally.total.attention_regions / max(tally.total.cases, 1)
        rows.append([f"**{name}**" if name in PROFILES else name, *_measured(tally.total), f"{regions:.1f}"])
    left_out = [f"Left out: {why}" for why in trial.left_out]
    return "\n".join([head, "", _markdown(["", *_MEASURES, "regions a case"], rows), *left_out])


def organs(title: str, tallies: Mapping[str, Tally]) -> str:
    """All measures of both profiles, organ by organ; wrong cases that were touched, right ones that were left alone."""
    rows = []
    for name in PROFILES:
        parts = {f"{organ} ({c.error_regions})": c for organ, c in tallies[name].by_organ.items()}
        for part, c in (parts | {f"all ({tallies[name].total.error_regions})": tallies[name].total}).items():
            right = f"{c.clean_cases_silent} of {c.cases - c.wrong_cases}"
            rows.append([f"{name}: {part}", *_measured(c), f"{c.found_cases} of {c.wrong_cases}", right])
    head = [f"{title}, organ (regions of error)", *_MEASURES, "wrong cases touched", "right cases left alone"]
    return _markdown(head, rows)


def thresholds(title: str, cuts: Mapping[Cut, Tally]) -> str:
    """What calibrated would show from other probabilities on, with the CT and without."""
    rows = [
        [f"{'with the CT' if with_ct else 'without a CT'}, {least:.2f}", *_measured(cuts[with_ct, least].total)]
        for with_ct in (True, False)
        for least in SHOWN_FROM
        if (with_ct, least) in cuts
    ]
    return _markdown([f"{title}, calibrated shown from", *_MEASURES], rows)


def reliability(found: Mapping[str, Mapping[str, Sequence[Bin]]]) -> str:
    """Stated probability of all candidate regions against the share that is wrong, and how many regions there are."""
    rows = [
        [f"{title}, {reading}", *(f"{one.stated:.2f}: {one.found:.2f} of {one.regions}" for one in bins)]
        for reading, lines in found.items()
        for title, bins in lines.items()
    ]
    widest = max(map(len, rows))
    padded = [[*row, *[""] * (widest - len(row))] for row in rows]
    return _markdown(["stated: found of regions", *[""] * (widest - 1)], padded)


def curves(found: Mapping[str, Mapping[str, Array]], gained: Mapping[str, Mapping[str, Gain]]) -> str:
    """Mean DSC by the share of cases reviewed, the area under it, and what it gains over drawing by lot."""
    rows = []
    for profile, by_strategy in found.items():
        for strategy, curve in by_strategy.items():
            one = gained[profile][strategy]
            gain = "" if strategy == CONTROL else f"{one.mean:+.4f} ({one.low:+.4f} to {one.high:+.4f})"
            values = np.interp(SHARES, np.linspace(0, 1, len(curve)), curve)
            name = f"{profile}, {strategy.replace('_', ' ')}"
            rows.append([name, *(f"{value:.4f}" for value in values), f"{area(curve):.4f}", gain])
    shares = (f"{share:.0%}" for share in SHARES)
    return _markdown(["mean DSC at share reviewed", *shares, "area", "gain over random (95 %)"], rows)


def _measured(c: Counts) -> list[str]:
    def pair(sensitivity: float, precision: float) -> str:
        return f"{_number(sensitivity)} / {_number(precision)}"

    return [
        pair(c.sensitivity, c.precision),
        pair(c.iou10_sensitivity, c.iou10_precision),
        pair(c.voxel_sensitivity, c.voxel_precision),
        _number(c.voxel_dice),
        _number(c.ml_per_true_ml),
    ]


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join([cells[0].ljust(widths[0]), *rest])} |"

    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return "\n".join([line(head), f"|{rule}|", *map(line, rows)])


def summary(planted: Trial, real: Trial, best: Mapping[str, Gain]) -> str:
    """One line of JSON; a figure that cannot be, such as the precision of no attention, is null."""
    return json.dumps(
        {
            name: {
                **_figures(planted.tallies[name].total, ""),
                **_figures(real.tallies[name].total, "real_"),
                "auc_gain_over_random": round(best[name].mean, 5),
                "auc_gain_interval": [round(best[name].low, 5), round(best[name].high, 5)],
            }
            for name in PROFILES
        }
    )


def _figures(counts: Counts, prefix: str) -> dict[str, float | None]:
    values = {prefix + figure: float(getattr(counts, figure)) for figure in FIGURES}
    return {name: None if math.isnan(value) else round(value, 4) for name, value in values.items()}

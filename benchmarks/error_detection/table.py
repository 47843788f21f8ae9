"""The figures as tables for people and as one JSON object for programs."""

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.error_detection.cases import Array
from benchmarks.error_detection.curves import area
from benchmarks.error_detection.cuts import SHOWN_FROM
from benchmarks.error_detection.judging import Counts, Tally
from benchmarks.error_detection.methods import PROFILES
from benchmarks.error_detection.samples import Bin
from benchmarks.error_detection.trial import Trial

FIGURES = ("sensitivity", "precision", "iou10_sensitivity", "iou10_precision", "ml_per_true_ml")
SHARES = np.linspace(0, 1, 11)
_MEASURES = (
    f"{'region, by touch':>18}{'region, IoU > 0.1':>19}{'voxel':>22}{'ml of attention':>17}",
    f"{'sens.':>9}{'prec.':>9}{'sens.':>10}{'prec.':>9}{'sens.':>8}{'prec.':>7}{'Dice':>7}{'per ml of error':>17}",
)
_PAPER = f"{'paper (other data, its own count)':34}{0.78:9.2f}{0.83:9.2f}"


def table(title: str, trial: Trial) -> str:
    """One row a method."""
    some = next(iter(trial.tallies.values())).total
    lines = [
        f"{title}: {some.cases} cases, {some.error_regions} regions of true error, "
        f"{some.error_ml / max(some.cases, 1):.0f} ml of true error a case",
        f"{'':34}{_MEASURES[0]}{'regions':>9}",
        f"{'':34}{_MEASURES[1]}{'a case':>9}",
        _PAPER,
    ]
    rows = [
        f"{name:34}{_measured(tally.total)}{tally.total.attention_regions / max(tally.total.cases, 1):9.1f}"
        for name, tally in trial.tallies.items()
    ]
    left_out = [f"left out: {why}" for why in trial.left_out]
    return "\n".join([*lines, *rows, *left_out])


def _measured(c: Counts) -> str:
    return (
        f"{c.sensitivity:9.2f}{c.precision:9.2f}{c.iou10_sensitivity:10.2f}{c.iou10_precision:9.2f}"
        f"{c.voxel_sensitivity:8.2f}{c.voxel_precision:7.2f}{c.voxel_dice:7.2f}{c.ml_per_true_ml:17.2f}"
    )


def organs(tallies: Mapping[str, Tally]) -> str:
    """All measures of both profiles, organ by organ; wrong cases that were touched, right ones that were left alone."""
    lines = []
    for name in PROFILES:
        lines += [
            f"{name + ', by organ':34}{_MEASURES[0]}{'wrong cases':>13}{'right cases':>13}",
            f"{'(regions of true error)':34}{_MEASURES[1]}{'touched':>13}{'left alone':>13}",
        ]
        parts = {f"{organ} ({c.error_regions})": c for organ, c in tallies[name].by_organ.items()}
        for title, c in (parts | {"all": tallies[name].total}).items():
            touched, right = (
                f"{c.found_cases} of {c.wrong_cases}",
                f"{c.clean_cases_silent} of {c.cases - c.wrong_cases}",
            )
            lines.append(f"{title:34}{_measured(c)}{touched:>13}{right:>13}")
    return "\n".join(lines)


def thresholds(title: str, cuts: Mapping[tuple[bool, float], Tally]) -> str:
    """What calibrated would show from other probabilities on."""
    lines = []
    for with_ct in sorted({with_ct for with_ct, _ in cuts}, reverse=True):
        lines += [
            f"{title}: calibrated, {'with the CT' if with_ct else 'without a CT'}",
            f"{'shown from':34}{_MEASURES[0]}",
            f"{'':34}{_MEASURES[1]}",
        ]
        lines += [f"{f'{least:.2f}':34}{_measured(cuts[with_ct, least].total)}" for least in SHOWN_FROM]
    return "\n".join(lines)


def reliability(title: str, bins: Sequence[Bin]) -> str:
    """Stated probability of all candidate regions against how many are wrong."""
    rows = [f"  {one.stated:.2f}  {one.found:.2f}  {one.regions}" for one in bins]
    return "\n".join([f"reliability, {title}: stated, found, regions", *rows])


def curves(found: Mapping[str, Mapping[str, Array]]) -> str:
    """Mean DSC by reviewed share and the area under it, for each profile and strategy."""
    lines = [f"{'mean DSC by share reviewed':34}" + "".join(f"{share:8.0%}" for share in SHARES) + f"{'area':>9}"]
    for profile, by_strategy in found.items():
        for strategy, curve in by_strategy.items():
            values = np.interp(SHARES, np.linspace(0, 1, len(curve)), curve)
            lines.append(
                f"{f'{profile}, {strategy}':34}" + "".join(f"{v:8.4f}" for v in values) + f"{area(curve):9.4f}"
            )
    return "\n".join(lines)


def summary(planted: Trial, real: Trial, gains: Mapping[str, float]) -> str:
    """One line of JSON; a figure that cannot be, such as the precision of no attention, is null."""
    return json.dumps(
        {
            name: {
                **_figures(planted.tallies[name].total, ""),
                **_figures(real.tallies[name].total, "real_"),
                "auc_gain_over_random": round(gains[name], 5),
            }
            for name in PROFILES
        }
    )


def _figures(counts: Counts, prefix: str) -> dict[str, float | None]:
    values = {prefix + figure: float(getattr(counts, figure)) for figure in FIGURES}
    return {name: None if math.isnan(value) else round(value, 4) for name, value in values.items()}

"""The figures as a table for people and as one JSON object for programs."""

import json
import math
from collections.abc import Mapping, Sequence

from benchmarks.error_detection.judging import Counts, Tally
from benchmarks.error_detection.methods import PROFILES
from benchmarks.error_detection.trial import Trial

FIGURES = ("sensitivity", "precision", "iou10_sensitivity", "iou10_precision", "ml_per_true_ml")
_HEAD = (
    f"{'':34}{'region, by touch':>18}{'region, IoU > 0.1':>19}{'voxel':>22}{'ml of attention':>17}{'regions':>9}\n"
    f"{'':34}{'sens.':>9}{'prec.':>9}{'sens.':>10}{'prec.':>9}{'sens.':>8}{'prec.':>7}{'Dice':>7}"
    f"{'per ml of error':>17}{'a case':>9}"
)
_PAPER = f"{'paper (other data, its own count)':34}{0.78:9.2f}{0.83:9.2f}"


def table(title: str, trial: Trial) -> str:
    """One row a method."""
    some = next(iter(trial.tallies.values())).total
    lines = [
        f"{title}: {some.cases} cases, {some.error_regions} regions of true error, "
        f"{some.error_ml / max(some.cases, 1):.0f} ml of true error a case",
        _HEAD,
        _PAPER,
    ]
    return "\n".join([*lines, *(_row(name, tally.total) for name, tally in trial.tallies.items())])


def _row(name: str, c: Counts) -> str:
    return (
        f"{name:34}{c.sensitivity:9.2f}{c.precision:9.2f}{c.iou10_sensitivity:10.2f}{c.iou10_precision:9.2f}"
        f"{c.voxel_sensitivity:8.2f}{c.voxel_precision:7.2f}{c.voxel_dice:7.2f}{c.ml_per_true_ml:17.2f}"
        f"{c.attention_regions / max(c.cases, 1):9.1f}"
    )


def organs(tallies: Mapping[str, Tally]) -> str:
    """Sensitivity and precision by touch of both profiles, organ by organ, and how many cases were told apart."""
    lines = [f"{'by organ: errors, sens. / prec.':34}" + "".join(f"{name:>20}" for name in PROFILES)]
    for organ in tallies[PROFILES[0]].by_organ:
        counts = [tallies[name].by_organ[organ] for name in PROFILES]
        cells = "".join(f"{f'{c.sensitivity:.2f} / {c.precision:.2f}':>20}" for c in counts)
        lines.append(f"{f'{organ} ({counts[0].error_regions})':34}{cells}")
    totals = [tallies[name].total for name in PROFILES]
    found = "".join(f"{f'{c.found_cases} of {c.wrong_cases}':>20}" for c in totals)
    silent = "".join(f"{f'{c.clean_cases_silent} of {c.cases - c.wrong_cases}':>20}" for c in totals)
    return "\n".join(
        [*lines, f"{'wrong cases with an error touched':34}{found}", f"{'right cases left alone':34}{silent}"]
    )


def reliability(pairs: Sequence[tuple[float, bool]], bins: int = 5) -> str:
    """Stated probability of the calibrated regions against how often they touch an error."""
    lines = ["reliability of calibrated: stated, found, regions"]
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [(p, right) for p, right in pairs if low <= p < high or (number == bins - 1 and p == 1)]
        if inside:
            stated = sum(p for p, _ in inside) / len(inside)
            hit = sum(right for _, right in inside) / len(inside)
            lines.append(f"  {stated:.2f}  {hit:.2f}  {len(inside)}")
    return "\n".join(lines)


def curves(found: Mapping[str, Mapping[str, float]]) -> str:
    """Area under mean DSC against reviewed share, by profile and strategy."""
    names = list(next(iter(found.values())))
    lines = [f"{'area under mean DSC by review':34}" + "".join(f"{name:>18}" for name in names)]
    lines += [f"{profile:34}" + "".join(f"{areas[name]:18.4f}" for name in names) for profile, areas in found.items()]
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

"""What came of the campaigns: a table, a plot, and the gain over drawing by lot with its interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.experiment.campaign import State
from services.core.metrics.summary import students_interval

CONTROL = "random"
CONFIDENCE = 0.95
Runs = Mapping[str, Sequence[Sequence[State]]]
"""By strategy, campaign after campaign, the states of all rounds; campaign n is the same one for every strategy."""


@dataclass(frozen=True)
class Interval:
    """The mean of paired differences between campaigns, and its interval (Student's t)."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, differences: Sequence[float]) -> "Interval":
        """From two campaigns on; with one the bounds are NaN."""
        mean = float(np.mean(differences))
        if len(differences) < 2:
            return cls(mean, math.nan, math.nan)
        return cls(mean, *students_interval(np.array(differences), CONFIDENCE))

    def as_data(self) -> dict[str, float | None]:
        """For JSON."""
        return {name: None if math.isnan(value) else round(value, 5) for name, value in vars(self).items()}


def gain(runs: Runs, strategy: str, measure: str, after: int) -> Interval:
    """A strategy's mean DSC minus that of drawing by lot, in the same campaign after the same round."""
    return Interval.of(
        [
            getattr(mine[after], measure) - getattr(lot[after], measure)
            for mine, lot in zip(runs[strategy], runs[CONTROL], strict=True)
        ]
    )


def summary(runs: Runs, volumes: int) -> dict[str, Any]:
    """For programs."""
    return {
        strategy: {
            "mean_dsc": _per_round(campaigns, "labels_dsc"),
            "networks_dsc": _per_round(campaigns, "networks_dsc"),
            "reviewed_share": _shares(campaigns, volumes),
            "minutes_of_review": _per_round(campaigns, "minutes"),
            "gain_over_random": gain(runs, strategy, "labels_dsc", -1).as_data(),
            "networks_gain_over_random": gain(runs, strategy, "networks_dsc", -1).as_data(),
        }
        for strategy, campaigns in runs.items()
    }


def markdown(runs: Runs, volumes: int) -> str:
    """One row a strategy; figures of all rounds in one cell, the one before any review first."""
    lines = [
        "| acquisition | reviewed, % | DSC of labels, % | gain over random | DSC of networks, % | gain over random "
        "| minutes of review | promoted a round |",
        "|---|---|---|---|---|---|--:|--:|",
    ]
    for strategy, campaigns in runs.items():
        promoted = np.mean([state.promoted for states in campaigns for state in states[1:]])
        cells = [
            strategy,
            _rounds(_shares(campaigns, volumes), 0),
            _rounds(_per_round(campaigns, "labels_dsc"), 1),
            _shown(gain(runs, strategy, "labels_dsc", -1), strategy),
            _rounds(_per_round(campaigns, "networks_dsc"), 1),
            _shown(gain(runs, strategy, "networks_dsc", -1), strategy),
            " · ".join(f"{minutes:.0f}" for minutes in _per_round(campaigns, "minutes")),
            f"{promoted:.1f} of 3",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(runs: Runs, volumes: int, path: Path) -> None:
    """Mean DSC of the labels by reviewed share and by minutes of review, and of the networks; a line a strategy."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    share, minutes = "reviewed volumes, %", "minutes of review"
    panels = (
        ("Labels of the campaign", "labels_dsc", share),
        ("Labels of the campaign", "labels_dsc", minutes),
        ("Networks on unseen patients", "networks_dsc", share),
    )
    figure, axes = plt.subplots(1, len(panels), figsize=(12, 3.6), layout="constrained")
    for axis, (title, measure, against) in zip(axes, panels, strict=True):
        for strategy, campaigns in runs.items():
            style = {"color": "black", "linestyle": "--"} if strategy == CONTROL else {}
            shares = [100 * value for value in _shares(campaigns, volumes)]
            costs = shares if against == share else _per_round(campaigns, "minutes")
            axis.plot(costs, _per_round(campaigns, measure), marker="o", markersize=4, label=strategy, **style)
        axis.set(title=title, xlabel=against, ylabel="mean DSC")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _per_round(campaigns: Sequence[Sequence[State]], measure: str) -> list[float]:
    rows = [[getattr(state, measure) for state in states] for states in campaigns]
    return [round(float(value), 5) for value in np.mean(rows, axis=0)]


def _shares(campaigns: Sequence[Sequence[State]], volumes: int) -> list[float]:
    rows = [[len(state.repaired) / volumes for state in states] for states in campaigns]
    return [round(float(value), 4) for value in np.mean(rows, axis=0)]


def _rounds(values: Sequence[float], digits: int) -> str:
    return " · ".join(f"{100 * value:.{digits}f}" for value in values)


def _shown(found: Interval, strategy: str) -> str:
    if strategy == CONTROL:
        return ""
    return f"{100 * found.mean:+.2f} ({100 * found.low:+.2f} to {100 * found.high:+.2f})"

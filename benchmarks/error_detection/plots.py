"""Pictures for docs/attention.md: the curves of acquisition, reliability, and attention on a slice."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.error_detection.cases import Array, LabelCase, Mask
from benchmarks.error_detection.curves import CONTROL
from benchmarks.error_detection.judging import errors_of
from benchmarks.error_detection.methods import PROFILES, marks
from benchmarks.error_detection.samples import Bin
from services.core import arrayfile
from services.core.ensemble import Ensemble

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WINDOW_HU = (-160, 240)
_ERROR, _ATTENTION = (0.85, 0.25, 0.15), (1.0, 0.65, 0.0)


def curves(path: Path, found: Mapping[str, Mapping[str, Array]]) -> None:
    """Mean DSC against reviewed share, a panel a profile."""
    figure, axes = _panels(len(found))
    for axis, (profile, by_strategy) in zip(axes, found.items(), strict=True):
        for strategy, curve in by_strategy.items():
            style = {"color": "black", "linestyle": "--"} if strategy == CONTROL else {}
            axis.plot(np.linspace(0, 1, len(curve)), curve, label=strategy, **style)
        axis.set(title=profile, xlabel="share of cases reviewed", ylabel="mean DSC")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    _save(figure, path)


def reliability(path: Path, found: Mapping[str, Mapping[str, Sequence[Bin]]]) -> None:
    """Stated probability against the share of wrong regions: panel by panel, line by line."""
    figure, axes = _panels(len(found))
    for axis, (title, lines) in zip(axes, found.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="grey", linewidth=0.7)
        for name, bins in lines.items():
            (line,) = axis.plot([one.stated for one in bins], [one.found for one in bins], label=name)
            sizes = [8 + 10 * np.log10(one.regions) for one in bins]
            axis.scatter([one.stated for one in bins], [one.found for one in bins], sizes, color=line.get_color())
        axis.set(title=title, xlabel="stated probability of error", xlim=(0, 1), ylim=(0, 1))
        axis.set_ylabel("share of regions that touch an error")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="upper left")
    _save(figure, path)


def attention(path: Path, case: LabelCase, predictions: Sequence[bytes]) -> None:
    """The axial slice with the most true error: label and error, then each profile's attention. Needs the case's CT."""
    assert case.ct is not None
    ensemble = Ensemble(tuple(arrayfile.decode(data) for data in predictions))
    shape = case.geometry.array_shape
    labels: list[Mask] = []
    wrong = np.zeros(shape, bool)
    marked = {name: np.zeros(shape, bool) for name in PROFILES}
    for organ, one in marks(ensemble, [organ for organ in case.truth if organ in ensemble.organs], case.ct, 0):
        labels.append(one.label)
        wrong |= errors_of(one.label, case.truth[organ], case.geometry).regions > 0
        for name in PROFILES:
            marked[name] |= one.attention[name]
    k = int(wrong.sum(axis=(1, 2)).argmax())
    figure, axes = _panels(1 + len(PROFILES))
    drawn = {
        "the label and its true errors": (wrong, _ERROR),
        **{name: (marked[name], _ATTENTION) for name in PROFILES},
    }
    _, dy, dx = case.geometry.spacing_mm[::-1]
    for axis, (title, (mask, colour)) in zip(axes, drawn.items(), strict=True):
        axis.imshow(_picture(case.ct[k], [label[k] for label in labels], mask[k], colour), aspect=dy / dx)
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    _save(figure, path)


def _picture(
    hu: NDArray[np.int16], labels: Sequence[Mask], marked: Mask, colour: tuple[float, float, float]
) -> NDArray[np.float64]:
    """RGB (row, column, 3) as radiologists see it: front up, the patient's right on the left."""
    low, high = _WINDOW_HU
    grey = np.clip((hu.astype(np.float64) - low) / (high - low), 0, 1)
    image = np.repeat(grey[..., None], 3, axis=2)
    image[marked] = 0.5 * image[marked] + 0.5 * np.array(colour)
    for label in labels:
        inside = label.copy()
        for axis in (0, 1):
            for step in (-1, 1):
                inside &= np.roll(label, step, axis)
        image[label & ~inside] = 1.0
    # The grid is RAS: rows grow to the front and columns to the right.
    return image[::-1, ::-1]


def _panels(count: int) -> tuple["Figure", Sequence[Any]]:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, count, figsize=(4.6 * count, 4.0), constrained_layout=True, squeeze=False)
    return figure, list(axes[0])


def _save(figure: "Figure", path: Path) -> None:
    from matplotlib import pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)

"""From masks to what networks would have predicted: uint8 probabilities with soft, noisy, biased borders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from benchmarks.error_detection.cases import LabelCase, Mask, smooth_field
from benchmarks.error_detection.planting import Planted, Spacing, box_of, signed_distance

Probabilities = npt.NDArray[np.uint8]
_REACH_MM = 15.0


@dataclass(frozen=True)
class Style:
    """How an ensemble's borders look; lengths in mm, ranges drawn once a model.

    `width` is the scale of the logistic border, itself varied along it by `width_varies` (a factor's logarithm).
    Borders wander off the truth by `common` in all models alike and by `own` in each, with bumps `wavelength` apart,
    and are moved by `bias` as a whole. `haze` is the number of blobs a model of low probability, beyond its border or
    in it. `blurred` renders by a gaussian filter and additive smooth noise instead of by distance.
    """

    name: str
    width: tuple[float, float]
    width_varies: float
    common: float
    own: float
    wavelength: tuple[float, float]
    bias: float
    haze: int
    grain: float
    blurred: bool = False


STYLES = {
    style.name: style
    for style in (
        Style("crisp", (0.3, 0.8), 0.2, 0.3, 0.4, (15, 30), 0.2, 0, 0.0),
        Style("ordinary", (0.8, 1.6), 0.3, 0.6, 0.8, (12, 30), 0.4, 1, 0.2),
        Style("soft", (1.8, 3.2), 0.4, 0.8, 1.0, (15, 35), 0.6, 1, 0.1),
        Style("jittery", (0.6, 1.4), 0.3, 0.6, 1.8, (8, 16), 0.8, 2, 0.3),
        Style("hazy", (1.0, 2.4), 0.6, 0.8, 1.2, (10, 30), 0.5, 5, 0.5),
        Style("blurred", (1.0, 2.8), 0.0, 0.3, 1.0, (8, 15), 1.0, 0, 0.08, blurred=True),
    )
}


def predict(
    rng: np.random.Generator, case: LabelCase, planted: Sequence[Planted], style: Style, models: int
) -> list[dict[str, Probabilities]]:
    """What each model predicts, organ by organ, uint8 = floor(255 p) (k, j, i) on the case's grid."""
    k, j, i = case.geometry.spacing_mm[::-1]
    spacing = (k, j, i)
    widths = [rng.uniform(*style.width) for _ in range(models)]
    biases = rng.normal(0, style.bias, models)
    predictions: list[dict[str, Probabilities]] = [{} for _ in range(models)]
    for organ, truth in case.truth.items():
        wrong: dict[int, Mask] = {}
        for error in planted:
            if organ in error.wrong:
                wrong |= dict.fromkeys(error.models, error.wrong[organ])
        masks = [wrong.get(number, truth) for number in range(models)]
        for number, p in enumerate(_organ(rng, masks, style, widths, biases, spacing)):
            predictions[number][organ] = p
    return predictions


def _organ(
    rng: np.random.Generator,
    masks: Sequence[Mask],
    style: Style,
    widths: Sequence[float],
    biases: npt.NDArray[np.float64],
    spacing: Spacing,
) -> list[Probabilities]:
    anything = np.any(np.stack(masks), axis=0)
    found = [np.zeros(anything.shape, np.uint8) for _ in masks]
    if not anything.any():
        return found
    box = box_of(anything, spacing, _REACH_MM)
    shape = anything[box].shape
    fields: Mapping[int, npt.NDArray[np.float32]] = {
        key: signed_distance(next(m for m in masks if id(m) == key)[box], spacing) for key in {id(m) for m in masks}
    }
    wander = style.common * smooth_field(rng, shape, spacing, rng.uniform(*style.wavelength))
    for number, mask in enumerate(masks):
        if not mask.any():
            continue
        own = style.own * smooth_field(rng, shape, spacing, rng.uniform(*style.wavelength))
        distance = fields[id(mask)] + wander + np.float32(biases[number])
        if style.blurred:
            soft = ndimage.gaussian_filter((distance > 0).astype(np.float32), [widths[number] / s for s in spacing])
            p = soft + 0.15 * own * (soft > 0.01) * (soft < 0.99)
        else:
            width = widths[number] * np.exp(style.width_varies * smooth_field(rng, shape, spacing, 25.0))
            logit = (distance + own) / width + style.grain * rng.standard_normal(shape).astype(np.float32)
            for _ in range(rng.poisson(style.haze)):
                logit = _with_haze(rng, logit, mask[box], spacing)
            p = 1 / (1 + np.exp(-np.clip(logit, -30, 30)))
        found[number][box] = np.floor(255 * np.clip(p, 0, 1) + 0.25 * style.blurred).astype(np.uint8)
    return found


def _with_haze(
    rng: np.random.Generator, logit: npt.NDArray[np.float32], mask: Mask, spacing: Spacing
) -> npt.NDArray[np.float32]:
    """A blob in or near the organ where this model is unsure, and may be wrong."""
    shell = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    if len(shell) == 0:
        return logit
    centre = shell[rng.integers(len(shell))]
    radius = rng.uniform(4, 12)
    total = np.zeros(logit.shape, np.float32)
    for axis in range(3):
        u = (np.arange(logit.shape[axis]) - centre[axis]) * spacing[axis] / radius
        total = total + (u.astype(np.float32) ** 2).reshape([-1 if a == axis else 1 for a in range(3)])
    weight = np.exp(-total * total)
    return np.asarray(logit * (1 - weight) + weight * rng.uniform(-2.5, 1.5), np.float32)

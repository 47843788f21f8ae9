"""The formulas of the calibrated profile as anybody would write them down: whole volumes, NumPy and SciPy.

docs/attention.md explains them. Arrays are (k, j, i); spacings are in mm in that order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, exp, floor, log, log10
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[Any]
Spacing = tuple[float, float, float]

CUBE = np.ones((3, 3, 3), bool)
FINE = 65536
ADD, OVERLAP, REMOVE = 1, 0, -1


@dataclass(frozen=True)
class Constants:
    """What `services/uncertainty/calibration.yaml` holds."""

    open_mm: float
    grow_mm: float
    weak: float
    strong: float
    dissenter: float
    core: float
    least_mm3: float
    least_probability: float
    weights: Mapping[str, float]
    findings: Mapping[str, float]


@dataclass(frozen=True)
class Region:
    """Connected voxels of one organ, in their box, that may be wrong in one way, and the probability that they are."""

    sign: int
    box: tuple[slice, ...]
    voxels: Array
    features: Mapping[str, float]
    probability: float


def binary_entropy(p: Array) -> Array:
    inner = np.clip(p, 1e-300, 1 - 1e-16)
    return np.where((p <= 0) | (p >= 1), 0.0, -inner * np.log(inner) - (1 - inner) * np.log1p(-inner))


def label(stack: Array) -> Array:
    """The largest component of where the mean probability is above one half; of equal ones the first in (x, y, z)."""
    mask: Array = 2 * stack.sum(0, np.int64) > 255 * len(stack)
    labels, count = ndimage.label(mask.transpose(2, 1, 0), CUBE)
    if count == 0:
        return mask
    return cast(Array, (labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])).transpose(2, 1, 0))


def labels_of(models: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    organs = sorted({organ for model in models for organ in model})
    return {organ: label(stack_of(models, organ)) for organ in organs}


def stack_of(models: Sequence[Mapping[str, Array]], organ: str) -> Array:
    return np.stack([model[organ] for model in models if organ in model])


def radii(spacing: Spacing, mm: float) -> list[int]:
    return [floor(mm / s + 0.25) for s in spacing]


def opened(mask: Array, radius: Sequence[int]) -> Array:
    size = [2 * r + 1 for r in radius]
    eroded = ndimage.minimum_filter(mask.astype(np.uint8), size, mode="constant", cval=0)
    return cast(Array, ndimage.maximum_filter(eroded, size, mode="constant", cval=0) > 0)


def candidates(flip: Array, side: Array, models: int, spacing: Spacing, constants: Constants) -> Array:
    """Numbered regions of one side of the border: where it is strongly doubted, else where it is at all."""
    full, radius = 255 * models, radii(spacing, constants.open_mm)
    strong_share = min(constants.strong, constants.dissenter / models)
    weak = opened(side & (flip >= ceil(constants.weak * full)), radius)
    strong = opened(side & (flip >= ceil(strong_share * full)), radius)
    numbers, _ = ndimage.label(weak, CUBE)
    replaced = np.unique(numbers[strong])
    numbers, _ = ndimage.label(strong | (weak & ~np.isin(numbers, replaced)), CUBE)
    return cast(Array, numbers)


def face_areas(numbers: Array, kept: Array, spacing: Spacing) -> tuple[Array, Array]:
    """By region number: area in mm^2 of its faces towards `kept`, and towards everything else inside the volume."""
    count, volume = int(numbers.max()) + 1, float(np.prod(spacing))
    towards, away = np.zeros(count), np.zeros(count)
    for axis in range(3):
        for first, second in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
            mine = np.moveaxis(numbers, axis, 0)[first]
            theirs, keeps = np.moveaxis(numbers, axis, 0)[second], np.moveaxis(kept, axis, 0)[second]
            border = (mine > 0) & (mine != theirs)
            area = volume / spacing[axis]
            towards += area * np.bincount(mine[border & keeps], minlength=count)
            away += area * np.bincount(mine[border & ~keeps], minlength=count)
    return towards, away


def crowds(
    models: Sequence[Mapping[str, Array]], labels: Mapping[str, Array], spacing: Spacing, constants: Constants
) -> dict[str, int]:
    """By organ, how many candidate regions of at least `least_mm3` lie on either side of the label's border."""
    counts = {}
    for organ, mask in labels.items():
        stack = stack_of(models, organ).astype(np.int64)
        flip = np.where(mask, 255 * len(stack) - stack.sum(0), stack.sum(0))
        sides = [candidates(flip, side, len(stack), spacing, constants) for side in (mask, ~mask)]
        sizes = np.concatenate([np.bincount(numbers.ravel())[1:] for numbers in sides])
        counts[organ] = int(np.count_nonzero(sizes * float(np.prod(spacing)) >= constants.least_mm3))
    return counts


def regions(
    models: Sequence[Mapping[str, Array]],
    organ: str,
    labels: Mapping[str, Array],
    spacing: Spacing,
    constants: Constants,
    crowd: Mapping[str, int],
    found: Array | None = None,
) -> list[Region]:
    """The regions of one organ with their features.

    `crowd` is what `crowds` gives, `found` the union of the findings that name the organ.
    """
    stack, mask = stack_of(models, organ).astype(np.int64), labels[organ]
    full, voxel = 255 * len(stack), float(np.prod(spacing))
    total = stack.sum(0)
    flip = np.where(mask, full - total, total)
    of_mean = np.round(FINE * binary_entropy(np.arange(full + 1) / full)).astype(np.int64)
    of_model = np.round(FINE * binary_entropy(np.arange(256) / 255)).astype(np.int64)
    entropy = of_mean[total]
    information = len(stack) * entropy - of_model[stack].sum(0)
    others = np.zeros(mask.shape, bool)
    for other in labels.keys() - {organ}:
        others |= labels[other]
    _, surface = face_areas(mask.astype(np.int64), np.zeros(mask.shape, bool), spacing)
    area = float(surface[1:].sum())
    band = np.count_nonzero(flip >= ceil(constants.weak * full)) * voxel / max(area, 1.0)
    overlap, _ = ndimage.label(opened(mask & others, radii(spacing, constants.open_mm)), CUBE)
    made: list[Region] = []
    for sign, numbers in (
        (ADD, candidates(flip, ~mask, len(stack), spacing, constants)),
        (REMOVE, candidates(flip, mask, len(stack), spacing, constants)),
        (OVERLAP, overlap),
    ):
        towards, away = face_areas(numbers, mask, spacing)
        for number, box in enumerate(ndimage.find_objects(numbers), 1):
            here = numbers[box] == number
            count = np.count_nonzero(here)
            if count * voxel < constants.least_mm3:
                continue
            kept, out = float(towards[number]), float(away[number])
            contact = kept / (kept + out) if kept + out else 0.0
            foreign = np.count_nonzero(others[box][here]) / count
            doubt = int(entropy[box][here].sum())
            features = {
                "log_ml": log10(count * voxel / 1000),
                "flip": int(flip[box][here].sum()) / (count * full),
                "disagreement": int(information[box][here].sum()) / (len(stack) * doubt) if doubt else 0.0,
                "log_depth": log(count * voxel / max(kept + out, 1.0)),
                "log_band": log(max(band, 0.5)),
                "contact_add": contact * (sign == ADD),
                "contact_remove": contact * (sign == REMOVE),
                "contact_overlap": contact * (sign == OVERLAP),
                "add": float(sign == ADD),
                "overlap": float(sign == OVERLAP),
                "foreign_add": foreign * (sign == ADD),
                "foreign_remove": foreign * (sign == REMOVE),
                "core": np.count_nonzero(flip[box][here] >= ceil(constants.core * full)) / count,
                "log_share": log10(count / max(np.count_nonzero(mask), count)),
                "found": float(found is not None and bool(found[box][here].any())),
            }
            made.append(Region(sign, box, here, features, 0.0))
    present = sum(bool(other.any()) for other in labels.values())
    around = {
        "log_crowd": log(max(1, crowd[organ])),
        "log_case_crowd": log(max(1.0, sum(crowd.values()) / max(present, 1))),
    }
    return _ranked(made, around, constants)


def _ranked(made: Sequence[Region], around: Mapping[str, float], constants: Constants) -> list[Region]:
    """With the features that depend on the other regions, and with the probability."""
    sizes = [np.count_nonzero(region.voxels) for region in made]
    ranked = []
    for region, size in zip(made, sizes, strict=True):
        rank = 1 + sum(other > size for other in sizes)
        features = {**region.features, **around, "log_rank": log(rank)}
        logit = constants.weights["intercept"] + sum(constants.weights[name] * x for name, x in features.items())
        ranked.append(Region(region.sign, region.box, region.voxels, features, 1 / (1 + exp(-logit))))
    return ranked


def heat(shown: Sequence[tuple[Array, float]], shape: tuple[int, ...], spacing: Spacing, constants: Constants) -> Array:
    """The highest probability of the regions that hold a voxel, each grown by `grow_mm`, as uint8 floor(255 P)."""
    size = [2 * r + 1 for r in radii(spacing, constants.grow_mm)]
    result = np.zeros(shape, np.uint8)
    for voxels, probability in shown:
        if probability >= constants.least_probability:
            grown = ndimage.maximum_filter(voxels.astype(np.uint8), size, mode="constant", cval=0) > 0
            result[grown] = np.maximum(result[grown], max(1, floor(255 * probability)))
    return result

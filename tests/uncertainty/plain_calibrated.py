"""The formulas of the calibrated profile as anybody would write them down: whole volumes, NumPy and SciPy.

docs/attention.md explains them. Arrays are (k, j, i); spacings are in mm in that order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, dist, exp, floor, log, log1p, log10
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from services.core import organs

Array = npt.NDArray[Any]
Spacing = tuple[float, float, float]

CUBE = np.ones((3, 3, 3), bool)
FINE = 65536
ADD, OVERLAP, REMOVE, LIKE, UNLIKE = "add", "overlap", "remove", "like", "unlike"
SIGN = {ADD: 1, LIKE: 1, OVERLAP: 0, REMOVE: -1, UNLIKE: -1}


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
    weights: Mapping[str, Mapping[str, float]]
    findings: Mapping[str, float]
    tissue: Any


@dataclass(frozen=True)
class Region:
    """Connected voxels of one organ, in their box, that may be wrong in one way, and the probability that they are."""

    cause: str
    box: tuple[slice, ...]
    voxels: Array
    features: Mapping[str, float]
    probability: float


def binary_entropy(p: Array) -> Array:
    inner = np.clip(p, 1e-300, 1 - 1e-16)
    return np.where((p <= 0) | (p >= 1), 0.0, -inner * np.log(inner) - (1 - inner) * np.log1p(-inner))


def label(stack: Array, organ: str, spacing: Spacing) -> Array:
    """Where the mean probability is above one half, the pieces that merging keeps; of equal largest ones the first in
    (x, y, z) where one may stay."""
    facts, volume = organs.organ(organ), float(np.prod(spacing))
    mask: Array = (2 * stack.sum(0, np.int64) > 255 * len(stack)).transpose(2, 1, 0)
    for step in (organs.Step.ISLANDS, organs.Step.PLAUSIBLE, organs.Step.LARGEST):
        labels, count = ndimage.label(mask, CUBE)
        if count and step in facts.steps:
            mm3 = np.bincount(labels.ravel())[1:] * volume
            keeps = {
                organs.Step.ISLANDS: (mm3 >= facts.island_mm3) | (mm3 == mm3.max()),
                organs.Step.PLAUSIBLE: mm3 >= facts.piece_share * mm3.max(),
                organs.Step.LARGEST: np.arange(count) == mm3.argmax(),
            }
            mask = np.concatenate([[False], keeps[step]])[labels]
    return mask.transpose(2, 1, 0)


def labels_of(models: Sequence[Mapping[str, Array]], spacing: Spacing) -> dict[str, Array]:
    every = sorted({organ for model in models for organ in model})
    return {organ: label(stack_of(models, organ), organ, spacing) for organ in every}


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
    ct: Array | None = None,
) -> list[Region]:
    """The regions of one organ with their features.

    `crowd` is what `crowds` gives, `found` the union of the findings that name the organ, `ct` the HU on the grid.
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
    sides = {
        ADD: candidates(flip, ~mask, len(stack), spacing, constants),
        REMOVE: candidates(flip, mask, len(stack), spacing, constants),
        OVERLAP: overlap,
    }
    hu = None if ct is None else averaged(ct, spacing, constants)
    look = None if hu is None else looks(hu, mask, others, spacing, constants)
    if look is not None:
        sides |= {LIKE: look.like, UNLIKE: look.unlike}
    made: list[Region] = []
    for cause, numbers in sides.items():
        sign = SIGN[cause]
        least = constants.tissue.least_mm3 if cause in (LIKE, UNLIKE) else constants.least_mm3
        towards, away = face_areas(numbers, mask, spacing)
        for number, box in enumerate(ndimage.find_objects(numbers), 1):
            here = numbers[box] == number
            count = np.count_nonzero(here)
            kept, out = float(towards[number]), float(away[number])
            if count * voxel < least or (kept == 0 and elsewhere(organ, box, labels, spacing)):
                continue
            contact = kept / (kept + out) if kept + out else 0.0
            foreign = np.count_nonzero(others[box][here]) / count
            doubt = int(entropy[box][here].sum())
            features = {
                "log_ml": log10(count * voxel / 1000),
                "flip": int(flip[box][here].sum()) / (count * full),
                "disagreement": int(information[box][here].sum()) / (len(stack) * doubt) if doubt else 0.0,
                "log_depth": log(count * voxel / max(kept + out, 1.0)),
                "log_band": log(max(band, 0.5)),
                "contact_add": contact * (sign > 0),
                "contact_remove": contact * (sign < 0),
                "contact_overlap": contact * (sign == 0),
                "add": float(sign > 0),
                "overlap": float(sign == 0),
                "foreign_add": foreign * (sign > 0),
                "foreign_remove": foreign * (sign < 0),
                "core": np.count_nonzero(flip[box][here] >= ceil(constants.core * full)) / count,
                "log_share": log10(count / max(np.count_nonzero(mask), count)),
                "log_gap": log1p(gap_mm(box, mask, spacing) / 10),
                "found": float(found is not None and bool(found[box][here].any())),
            }
            if hu is not None and look is not None:
                features |= evidence(sign, numbers, number, mask, hu, look, spacing, constants)
            made.append(Region(cause, box, here, features, 0.0))
    present = sum(bool(other.any()) for other in labels.values())
    around = {
        "log_crowd": log(max(1, crowd[organ])),
        "log_case_crowd": log(max(1.0, sum(crowd.values()) / max(present, 1))),
    }
    return _ranked(made, around, constants)


def elsewhere(organ: str, box: tuple[slice, ...], labels: Mapping[str, Array], spacing: Spacing) -> bool:
    """Whether a box of the upper abdomen's organs ends 20 mm below both kidneys; the slices run upwards."""
    kidneys = [labels[name] for name in ("kidney_left", "kidney_right") if name in labels and labels[name].any()]
    if len(kidneys) < 2 or organ not in ("gall_bladder", "liver", "pancreas", "spleen", "stomach"):
        return False
    floor = min(int(np.argwhere(kidney)[:, 0].min()) for kidney in kidneys)
    return bool((floor - (box[0].stop - 1)) * spacing[0] > 20)


def gap_mm(box: tuple[slice, ...], mask: Array, spacing: Spacing) -> float:
    """Between the nearest voxels of a region's box and the label's, along each axis, less the step to a neighbour."""
    if not mask.any():
        return 0.0
    (label_box,) = ndimage.find_objects(mask.astype(np.uint8))
    between = [max(0, a.start - b.stop, b.start - a.stop) for a, b in zip(box, label_box, strict=True)]
    return dist([n * s for n, s in zip(between, spacing, strict=True)], [0, 0, 0])


@dataclass(frozen=True)
class Look:
    """How an organ looks in a CT, and the numbered regions that look as if their label were wrong."""

    nats: Array
    likeness: float
    odd: float
    like: Array
    unlike: Array
    crowd: int


def averaged(ct: Array, spacing: Spacing, constants: Constants) -> Array:
    """The mean over a box, halves up; the edge goes on beyond the grid."""
    size = [2 * r + 1 for r in radii(spacing, constants.tissue.average_mm)]
    wide = np.pad(ct.astype(np.int64), [(n // 2, n // 2) for n in size], mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, size)
    return cast(Array, (2 * windows.sum(axis=(3, 4, 5)) + np.prod(size)) // (2 * np.prod(size)))


def bins(hu: Array) -> Array:
    return np.clip((hu + 1000) // 10, 0, 199)


def frequencies(hu: Array) -> Array:
    counts = np.bincount(bins(hu), minlength=200)
    smooth = np.convolve(np.pad(counts, 2, mode="edge"), [1, 2, 3, 2, 1], mode="valid")
    return cast(Array, smooth / max(9 * len(hu), 1))


def looks(hu: Array, mask: Array, others: Array, spacing: Spacing, constants: Constants) -> Look | None:
    """None if too little of the organ lies inside its border."""
    tissue, voxel = constants.tissue, float(np.prod(spacing))

    def within(mask: Array, mm: float) -> Array:
        return cast(Array, ndimage.maximum_filter(mask, [2 * r + 1 for r in radii(spacing, mm)], mode="constant"))

    core = ndimage.minimum_filter(mask, [2 * r + 1 for r in radii(spacing, tissue.core_mm)], mode="constant")
    if np.count_nonzero(core) * voxel < tissue.least_core_mm3:
        return None
    far = within(mask, tissue.reach_mm)
    inner, outer = frequencies(hu[core]), frequencies(hu[far & ~within(mask, tissue.core_mm)])
    nats = np.round(1024 * np.clip(np.log((inner + 1e-3) / (outer + 1e-3)), -4, 4)) / 1024
    least, here = round(1024 * tissue.least_nats) / 1024, nats[bins(hu)]
    free, size = far & ~mask & ~within(others, tissue.average_mm), radii(spacing, constants.open_mm)
    like, _ = ndimage.label(opened(free & (here >= least), size), CUBE)
    unlike, _ = ndimage.label(opened(mask & (here <= -least), size), CUBE)
    volumes = np.concatenate([np.bincount(numbers.ravel())[1:] for numbers in (like, unlike)]) * voxel
    return Look(
        nats,
        likeness=float(np.sqrt(inner * outer).sum()),
        odd=float((here[core] <= -least).mean()),
        like=like,
        unlike=unlike,
        crowd=int(np.count_nonzero(volumes >= tissue.least_mm3)),
    )


def evidence(
    sign: int, numbers: Array, number: int, mask: Array, hu: Array, look: Look, spacing: Spacing, constants: Constants
) -> dict[str, float]:
    """What the CT says of a region: its voxels' evidence, and whether it looks like the label or what is beyond."""
    here, side = numbers == number, 0.0
    label: list[Array] = []
    outer: list[Array] = []
    for axis, radius in enumerate(radii(spacing, constants.tissue.average_mm)):
        for by in (-max(1, 2 * radius), max(1, 2 * radius)):
            place = np.argwhere(here)
            place[:, axis] += by
            place = place[(place[:, axis] >= 0) & (place[:, axis] < here.shape[axis])]
            at = tuple(place.T)
            free = numbers[at] == 0
            label.append(hu[at][free & mask[at]])
            outer.append(hu[at][free & ~mask[at]])
    near, beyond = np.concatenate(label), np.concatenate(outer)
    if near.size and beyond.size:
        to_near, to_beyond = (abs(hu[here].mean() - some.mean()) for some in (near, beyond))
        side = float((to_beyond - to_near) / (to_beyond + to_near + 8))
    return {
        "evidence": sign * float(look.nats[bins(hu[here])].mean()),
        "side": sign * side,
        "likeness": look.likeness,
        "odd": look.odd,
        "log_tissue_crowd": log(max(1, look.crowd)),
    }


def _ranked(made: Sequence[Region], around: Mapping[str, float], constants: Constants) -> list[Region]:
    """With the features that depend on the other regions, and with the probability."""
    ranked = []
    for region in made:
        by_tissue = region.cause in (LIKE, UNLIKE)
        sizes = [np.count_nonzero(other.voxels) for other in made if (other.cause in (LIKE, UNLIKE)) == by_tissue]
        rank = 1 + sum(size > np.count_nonzero(region.voxels) for size in sizes)
        features = {**region.features, **around, "log_rank": log(rank)}
        family = region.cause if by_tissue else "doubt_with_ct" if "evidence" in features else "doubt"
        weights = constants.weights[family]
        logit = weights["intercept"] + sum(weights[name] * x for name, x in features.items())
        ranked.append(Region(region.cause, region.box, region.voxels, features, 1 / (1 + exp(-logit))))
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


def expected_mm3(
    shown: Sequence[tuple[Array, float]], shape: tuple[int, ...], spacing: Spacing, constants: Constants
) -> float:
    """Volume that is expected to be wrong: the sum over voxels of the highest probability of the regions shown."""
    highest = np.zeros(shape)
    for voxels, probability in shown:
        if probability >= constants.least_probability:
            highest = np.maximum(highest, voxels * probability)
    return float(highest.sum() * np.prod(spacing))

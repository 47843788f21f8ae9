"""What is compared: the product's profiles, and simpler ways to point at errors."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy import ndimage

from benchmarks.error_detection.cases import Array, Mask
from benchmarks.error_detection.judging import box_of
from services.core.boxes import Boxed
from services.core.components import largest_component
from services.core.ensemble import Ensemble
from services.uncertainty import thresholds
from services.uncertainty.attention import OrganAttention
from services.uncertainty.profiles import find
from services.uncertainty.tissue import Hounsfield

PROFILES = ("parity", "calibrated")
PARTS = ("entropy only", "disagreement only")
CONTROLS = ("whole organs", "random boxes")
METHODS = PROFILES + PARTS + CONTROLS
_BOX_MM = 20.0


@dataclass(frozen=True)
class Marks:
    """What each method marks in one organ, boolean (k, j, i), and what the profiles say of it."""

    label: Mask
    attention: Mapping[str, Mask]
    found: Mapping[str, OrganAttention]


def marks(ensemble: Ensemble, organs: Sequence[str], ct: Hounsfield | None, seed: int) -> Iterator[tuple[str, Marks]]:
    """All methods on one ensemble, organ by organ."""
    rng = np.random.default_rng([seed, 13])
    profiles: dict[str, dict[str, OrganAttention]] = {
        name: {found.score.organ: found for found in find(name).attend(ensemble, organs, None, ct)} for name in PROFILES
    }
    for organ in organs:
        label = whole(final_label(ensemble, organ), ensemble) > 0
        found = {name: profiles[name][organ] for name in PROFILES}
        attention = {name: whole(found[name].heat, ensemble) > 0 for name in PROFILES}
        attention |= _signs(ensemble, organ)
        attention["whole organs"] = label
        attention["random boxes"] = _boxes(rng, label, attention["calibrated"], ensemble)
        yield organ, Marks(label, attention, found)


def final_label(ensemble: Ensemble, organ: str) -> Boxed:
    """The ensemble's label: the largest component of where the mean is above one half."""
    channels = [member.channel(organ) for member in ensemble.having(organ)]
    return largest_component((2 * np.sum(channels, axis=0, dtype=np.int32) > 255 * len(channels)).astype(np.uint8))


def whole(part: Boxed, ensemble: Ensemble) -> Array:
    """A box on the whole grid."""
    array = np.zeros(ensemble.geometry.array_shape, np.uint8)
    if part.voxels.size:
        array[part.slices] = part.voxels
    return array


def _signs(ensemble: Ensemble, organ: str) -> dict[str, Mask]:
    """The two signs of the parity rule, each by itself."""
    stack = np.stack([member.channel(organ) for member in ensemble.having(organ)])
    marked = {name: np.zeros(stack.shape[1:], bool) for name in PARTS}
    # Where all models say 0 there is no sign, and beyond the box as little as beyond the grid.
    box = box_of(stack.any(axis=0))
    values = stack[(slice(None), *box)].astype(np.int32)
    models = len(values)
    p = np.arange(1, 256) / 255
    stored = np.concatenate([[0], np.floor(-255 * p * np.log(p))]).astype(np.int32)
    unsure = stored[values].sum(0) >= thresholds.uncertainty(models).least
    differ = models * (values**2).sum(0) - values.sum(0) ** 2 >= thresholds.inconsistency(models).least
    for name, sign in zip(PARTS, (unsure, differ), strict=True):
        marked[name][box] = _opened(sign)
    return marked


def _opened(mask: Mask) -> Mask:
    eroded = ndimage.minimum_filter(mask.astype(np.uint8), 5, mode="constant", cval=0)
    return cast(Mask, ndimage.maximum_filter(eroded, 5, mode="constant", cval=0) > 0)


def _boxes(rng: np.random.Generator, label: Mask, like: Mask, ensemble: Ensemble) -> Mask:
    """Cubes at random places on the organ, as much volume as the calibrated profile asks for."""
    result, wanted = np.zeros(label.shape, bool), np.count_nonzero(like)
    places = np.argwhere(label)
    if not len(places):
        return result
    half = [max(1, round(_BOX_MM / 2 / s)) for s in ensemble.geometry.spacing_mm[::-1]]
    while np.count_nonzero(result) < wanted:
        centre = places[rng.integers(len(places))]
        result[tuple(slice(max(0, c - h), c + h) for c, h in zip(centre, half, strict=True))] = True
    return result

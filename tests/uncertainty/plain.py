"""The formulas of the parity profile as anybody would write them down: whole volumes, float64 NumPy and SciPy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import entr

Array = npt.NDArray[Any]

OTHERS = [
    "spleen",
    "kidney_left",
    "kidney_right",
    "gall_bladder",
    "liver",
    "stomach",
    "pancreas",
    "esophagus",
    "adrenal_gland_left",
    "adrenal_gland_right",
    "duodenum",
    "lung_left",
    "lung_right",
    "colon",
    "intestine",
    "rectum",
    "bladder",
    "prostate",
    "femur_left",
    "femur_right",
]
CUBE = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class Plain:
    """One organ's maps on the whole grid."""

    inconsistency: Array
    uncertainty: Array
    overlap: Array
    attention: Array
    heat: Array


def stack_of(models: Sequence[Mapping[str, Array]], organ: str) -> Array:
    return np.stack([model[organ] for model in models if organ in model])


def deviation(stack: Array) -> Array:
    return cast(Array, np.std(stack / 255, axis=0))


def entropy(stack: Array) -> Array:
    return cast(Array, np.mean(np.floor(255 * entr(stack / 255)) / 255, axis=0))


def ensemble_mask(stack: Array) -> Array:
    mask: Array = np.mean(stack / 255, axis=0) > 0.5
    # The arrays of the original have the axes (x, y, z).
    labels, count = ndimage.label(mask.transpose(2, 1, 0), CUBE)
    if count == 0:
        return mask
    return cast(Array, (labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])).transpose(2, 1, 0))


def opened(mask: Array) -> Array:
    eroded = ndimage.binary_erosion(mask, CUBE, iterations=2, border_value=0)
    return cast(Array, ndimage.binary_dilation(eroded, CUBE, iterations=2, border_value=0))


def ensemble_masks(models: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {organ: ensemble_mask(stack_of(models, organ)) for organ in {name for model in models for name in model}}


def attend(models: Sequence[Mapping[str, Array]], organ: str, masks: Mapping[str, Array]) -> Plain:
    stack = stack_of(models, organ)
    i, u = deviation(stack), entropy(stack)
    i_mask, u_mask = opened(i > 0.10), opened(u > 0.05)
    overlap = np.zeros(i.shape, bool)
    for other in masks.keys() & set(OTHERS) - {organ}:
        overlap |= masks[organ] & masks[other]
    heat = i * i_mask + u * u_mask + overlap
    if heat.max() > 0:
        heat = heat / heat.max()
    return Plain(i_mask, u_mask, overlap, i_mask | u_mask | overlap, np.floor(255 * heat).astype(np.uint8))

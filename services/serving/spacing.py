"""Between the network grid and the voxels that a network computes with, slab after slab: blocks of the grid's, or any
edges, linearly, for networks that were trained on such."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - what every torch program calls it
from numpy.typing import NDArray
from torch import Tensor

from services.core.blocks import SLAB
from services.serving.card import Card

Factors = tuple[float, float, float]
"""The network's voxel edges in voxels of the grid, (z, y, x)."""


def working_shape(shape: tuple[int, ...], factors: Factors) -> tuple[int, int, int]:
    """How many of the network's voxels (z, y, x) cover a grid of `shape`."""
    z, y, x = (math.ceil(round(n / factor, 4)) for n, factor in zip(shape, factors, strict=True))
    return z, y, x


def on_working_grid(voxels: NDArray[np.int16], card: Card, prepared: Callable[[Tensor], Tensor]) -> Tensor:
    """Voxels (z, y, x) on the network grid, as `prepared` makes float32 of them, as the card's network sees them: means
    of blocks, whose last ones the edge fills, or interpolated to the network's own spacing.

    Serving and training both come here: a network must see in use what it saw when it learned.
    """
    if card.working_spacing_mm:
        return to_working(voxels, card.working_factors, prepared)
    factor = card.working_factor
    z, y, x = (math.ceil(n / factor) for n in voxels.shape)
    image = torch.empty((z, y, x))
    step = max(SLAB // factor, 1)
    for first in range(0, z, step):
        slab = prepared(torch.from_numpy(voxels[first * factor : (first + step) * factor]))
        missing = [-n % factor for n in slab.shape]
        slab = F.pad(slab[None, None], (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")
        image[first : first + step] = F.avg_pool3d(slab, factor)[0, 0]
    return image


def to_working(voxels: NDArray[np.int16], factors: Factors, prepared: Callable[[Tensor], Tensor]) -> Tensor:
    """Voxels (z, y, x) on the grid, as `prepared` makes float32 of them -> the same on the network's voxels."""
    shape = working_shape(voxels.shape, factors)
    image = torch.empty(shape)
    for start, stop in _slabs(shape[0]):
        places = _centres(start, stop, 1 / factors[0])
        first, last = _between(places, voxels.shape[0])
        slab = _interpolated(prepared(torch.from_numpy(voxels[first:last])), places - first, 0)
        for axis in (1, 2):
            slab = _interpolated(slab, _centres(0, shape[axis], 1 / factors[axis]), axis)
        image[start:stop] = slab
    return image


def to_grid(values: Tensor, first: int, start: int, shape: tuple[int, ...], factors: Factors) -> Tensor:
    """Slices `start` and following of one organ on the grid, `shape` (z, y, x) in all, from the network's `values`.

    `first` is the network's slice that `values` (z, y, x) begin with.
    """
    fine = _interpolated(values, _centres(start, start + shape[0], factors[0]) - first, 0)
    for axis in (1, 2):
        fine = _interpolated(fine, _centres(0, shape[axis], factors[axis]), axis)
    return fine


def _centres(start: int, stop: int, factor: float) -> Tensor:
    """Where the centres of voxels `start` to `stop` lie among voxels that are `factor` times as long."""
    return (torch.arange(start, stop, dtype=torch.float64) + 0.5) / factor - 0.5


def _between(places: Tensor, length: int) -> tuple[int, int]:
    """The slices that are needed to interpolate at `places`."""
    low, high = int(places[0].floor()), int(places[-1].floor()) + 2
    return min(max(low, 0), length - 1), max(min(high, length), 1)


def _interpolated(values: Tensor, places: Tensor, axis: int) -> Tensor:
    """Linear along one axis; beyond the first and the last centre it is what they are."""
    last = values.shape[axis] - 1
    places = places.to(values.device).clamp(0, last)
    below = places.floor().long()
    above = (below + 1).clamp_(max=last)
    share = (places - below).float().reshape([-1 if other == axis else 1 for other in range(values.ndim)])
    return torch.lerp(values.index_select(axis, below), values.index_select(axis, above), share)


def _slabs(length: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, SLAB):
        yield start, min(start + SLAB, length)

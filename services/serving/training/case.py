"""One training case: a CT on the networks' working grid, and the masks of the organs that its source looked for."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from services.core.geometry import Geometry, network_grid
from services.core.resample import to_grid
from services.serving.card import Card
from services.serving.spacing import on_working_grid

MAX_ORGANS = 32
_CENTRES = 2048
_MARGIN = 0.2
_CERTAIN = 1000


@dataclass(frozen=True)
class Case:
    """`ct` int16 HU and `bits` (z, y, x): bit n of a voxel says that `organs[n]` is there.

    An organ that is not in `organs` is unknown: nobody looked for it. One that is, and has no voxel, is absent.
    `centres` holds voxels (n, 3) of every organ, spread over it, to place crops around.
    """

    name: str
    ct: NDArray[np.int16]
    bits: NDArray[np.uint32]
    organs: tuple[str, ...]
    centres: tuple[NDArray[np.int32], ...]

    @classmethod
    def of(cls, name: str, ct: NDArray[np.int16], masks: Mapping[str, NDArray[np.bool_]]) -> "Case":
        """A case from the mask (z, y, x) of every organ that its source looked for; masks may overlap."""
        if not len(masks) <= MAX_ORGANS:
            raise ValueError(f"at most {MAX_ORGANS} organs, not {len(masks)}")
        bits = np.zeros(ct.shape, np.uint32)
        centres = []
        for index, mask in enumerate(masks.values()):
            bits |= mask.astype(np.uint32) << np.uint32(index)
            voxels = np.flatnonzero(mask)
            some = voxels[np.linspace(0, voxels.size - 1, min(voxels.size, _CENTRES)).astype(np.int64)]
            centres.append(np.stack(np.unravel_index(some, ct.shape), axis=1).astype(np.int32))
        return cls(name, ct, bits, tuple(masks), tuple(centres))

    def mask(self, organ: str, crop: tuple[slice, ...] = ()) -> NDArray[np.bool_]:
        """The voxels of an organ that was looked for, of a crop or of everything."""
        return (self.bits[crop] >> np.uint32(self.organs.index(organ)) & 1).astype(np.bool_)


def working_case(
    name: str, ct: NDArray[np.int16], geometry: Geometry, masks: Mapping[str, NDArray[np.bool_]], card: Card
) -> Case:
    """A CT (HU) and masks, all (k, j, i) on `geometry`, as the card's network sees them.

    Serving clips to the HU window before it averages blocks of voxels, or one voxel of air would darken a whole block;
    here the window is widened by a fifth on both sides, so that crops can still be varied.
    """
    grid = network_grid(geometry, card.grid_spacing_mm)
    low, high = card.hu_window
    slack = _MARGIN * (high - low)
    voxels = to_grid(ct, geometry, grid).clip(round(low - slack), round(high + slack))
    certain = {organ: to_grid(mask * np.int16(_CERTAIN), geometry, grid).clip(0) for organ, mask in masks.items()}
    coarse = {organ: _averaged(mask, card) >= _CERTAIN / 2 for organ, mask in certain.items()}
    return Case.of(name, np.rint(_averaged(voxels, card)).astype(np.int16), coarse)


def _averaged(voxels: NDArray[np.int16], card: Card) -> NDArray[np.float32]:
    averaged: NDArray[np.float32] = on_working_grid(voxels, card, Tensor.float).numpy()
    return averaged

"""From a CT on the network grid to one uint8 probability array an organ, slab after slab."""

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - what every torch program calls it
from numpy.typing import NDArray
from torch import Tensor

from services.core import arrayfile
from services.core.blocks import SLAB
from services.core.geometry import Geometry
from services.serving.card import Card
from services.serving.sliding import CPU, Run, logit_slabs
from services.serving.spacing import Factors, on_working_grid, to_grid

_LEAST = 0.99 / 255
"""A probability below it is stored as 0, whatever rounding does."""


def working_image(ct: NDArray[np.int16], card: Card) -> Tensor:
    """HU (z, y, x) on the network grid -> float32 (z, y, x) in [0, 1] on the network's working grid."""
    low, high = card.hu_window

    def windowed(hu: Tensor) -> Tensor:
        return hu.float().sub_(low).div_(high - low).clamp_(0, 1)

    return on_working_grid(ct, card, windowed)


@torch.inference_mode()
def probability_slabs(
    run: Run, ct: NDArray[np.int16], card: Card, *, batch: int = 1, device: torch.device = CPU
) -> Iterator[NDArray[np.uint8]]:
    """floor(255 p), uint8 (organ, dz, y, x) on the network grid, 32 slices after 32 slices.

    Nothing but these bytes leaves `device`, where `run` answers. float32 on the CPU, where the same CT and number of
    threads give the same bytes. Raises as `logit_slabs` does.
    """
    factors = card.working_factors
    image = working_image(ct, card)
    coarse, low = torch.empty((len(card.organs), 0, *image.shape[1:]), device=device), 0
    done = 0
    for start, logits in logit_slabs(run, image, card, batch=batch, device=device):
        coarse = torch.cat([coarse, logits.sigmoid_()], dim=1)
        known = start + logits.shape[1]
        while done < ct.shape[0]:
            stop = min(done + SLAB, ct.shape[0])
            first, last = max(_below(done, factors[0]), 0), min(_below(stop - 1, factors[0]) + 2, image.shape[0])
            if last > known:
                break
            there = coarse[:, first - low : last - low]
            if card.working_spacing_mm:
                yield _spaced(there, first, done, (stop - done, *ct.shape[1:]), factors)
            else:
                part = slice(done - card.working_factor * first, stop - card.working_factor * first)
                yield _fine(there, part, ct.shape, card.working_factor)
            coarse, low = coarse[:, first - low :], first
            done = stop


def _below(fine: int, factor: float) -> int:
    """The coarse slice whose centre lies at or below that of a fine one."""
    return math.floor((fine + 0.5) / factor - 0.5)


def _spaced(coarse: Tensor, first: int, start: int, shape: tuple[int, ...], factors: Factors) -> NDArray[np.uint8]:
    """Linear interpolation of (organ, z, y, x), of it the slices from `start` on, as floor(255 p)."""
    stored = np.zeros((coarse.shape[0], *shape), np.uint8)
    for organ, values in zip(stored, coarse, strict=True):
        if values.numel() and values.amax() >= _LEAST:
            organ[:] = _stored(to_grid(values, first, start, shape, factors))
    return stored


def _fine(coarse: Tensor, part: slice, shape: tuple[int, ...], factor: int) -> NDArray[np.uint8]:
    """Trilinear interpolation of (organ, z, y, x), centres aligned, of it the slices `part`, as floor(255 p).

    Interpolation stays between its neighbours, so only the box around what is not stored as 0 is computed.
    """
    stored = np.zeros((coarse.shape[0], part.stop - part.start, *shape[1:]), np.uint8)
    for organ, values in zip(stored, coarse, strict=True):
        there = values.amax(0) >= _LEAST
        box = [_around(there.any(1 - axis), factor, shape[1 + axis]) for axis in (0, 1)]
        if any(some is None for some in box):
            continue
        (y, fine_y, cut_y), (x, fine_x, cut_x) = (some for some in box if some is not None)
        fine = F.interpolate(values[None, None, :, y, x], scale_factor=factor, mode="trilinear", align_corners=False)[
            0, 0, part, cut_y, cut_x
        ]
        organ[:, fine_y, fine_x] = _stored(fine)
    return stored


def _stored(probabilities: Tensor) -> NDArray[np.uint8]:
    # Interpolation in float32 may exceed 1 by a rounding error, and 256 would wrap to 0.
    stored: NDArray[np.uint8] = (probabilities * 255).floor_().clamp_(0, 255).to(torch.uint8).cpu().numpy()
    return stored


def _around(there: Tensor, factor: int, length: int) -> tuple[slice, slice, slice] | None:
    """Along one axis: the coarse voxels to interpolate, the fine ones they give, and where those lie in the result.

    Two more coarse voxels than have a value on either side: one is given a share of it, the other is where
    interpolation sees no edge that is not the volume's own.
    """
    found = torch.nonzero(there)
    if not len(found):
        return None
    low, high = max(int(found[0]) - 2, 0), min(int(found[-1]) + 3, len(there))
    first, last = factor * low, min(factor * high, length)
    return slice(low, high), slice(first, last), slice(0, last - first)


def predict(
    run: Run, ct: NDArray[np.int16], geometry: Geometry, card: Card, *, batch: int = 1, device: torch.device = CPU
) -> bytes:
    """The finished array file of one CT on the network grid: one uint8 channel an organ. Raises as `logit_slabs`."""
    writer = arrayfile.Writer(card.organs, np.uint8, geometry)
    start = 0
    for slab in probability_slabs(run, ct, card, batch=batch, device=device):
        for organ, voxels in zip(card.organs, slab, strict=True):
            writer.write(organ, voxels, (start, 0, 0))
        start += slab.shape[1]
    return writer.finish()

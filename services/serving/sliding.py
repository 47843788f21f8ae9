"""A gaussian-weighted sliding window over a volume of any length in bounded memory.

Windows and weights are those of MONAI's `sliding_window_inference`, so where every window is computed the logits are
its logits. Windows that hold no body are not computed.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - what every torch program calls it
from monai.data.utils import compute_importance_map, dense_patch_slices
from torch import Tensor

from services.serving.card import Card, Triple
from services.serving.channels import organ_logits

Run = Callable[[Tensor], Tensor]
"""Windows (b, 1, z, y, x) float32 -> logits (b, channel, z, y, x), on whatever device computes them."""

NOWHERE = -30.0
"""The logit where no window was computed: a probability that is stored as 0."""

_BODY_SHARE = 0.002
"""A window with a smaller share of voxels denser than the low end of `hu_window` holds air, or a rim of skin."""


def logit_slabs(run: Run, image: Tensor, card: Card, *, batch: int = 1) -> Iterator[tuple[int, Tensor]]:
    """(first slice, logits (organ, dz, y, x) float32) slab after slab, which together are the whole of `image`.

    `image` is (z, y, x) float32 in [0, 1] on the CPU. At once in memory: the logits of as many slices as a window has.
    `batch` windows are computed at a time; fewer if the GPU's memory does not hold them. Raises torch.OutOfMemoryError
    if it does not hold one.
    """
    padded, margin = _padded(image, card.window)
    size = tuple(padded.shape)
    weight = compute_importance_map(card.window, mode="gaussian", sigma_scale=card.gaussian_sigma)
    rows = _rows(size, card.window, card.overlap)
    channels = card.channel_count if card.is_softmax else len(card.organs)
    sums = torch.zeros((channels, card.window[0], *size[1:]))
    weights = torch.zeros((card.window[0], *size[1:]))
    least = _BODY_SHARE * math.prod(map(min, card.window, image.shape))
    for start, following in pairwise([*rows, size[0]]):
        row = padded[start : start + card.window[0]]
        places = [place for place in rows[start] if torch.count_nonzero(row[:, *place]) >= least]
        for (y, x), logits in _computed(run, row, places, batch):
            sums[:, :, y, x] += logits * weight
            weights[:, y, x] += weight
        done = following - start
        yield from _inside(start, _mean(sums[:, :done], weights[:done], card), image.shape, margin)
        for tensor in (sums.transpose(0, 1), weights):
            tensor[:-done] = tensor[done:].clone()
            tensor[-done:] = 0


def _padded(image: Tensor, window: Triple) -> tuple[Tensor, tuple[int, ...]]:
    """`image` with air on both sides up to the window's size, and how much of it lies before the first voxel."""
    missing = [max(side - length, 0) for side, length in zip(window, image.shape, strict=True)]
    before = tuple(total // 2 for total in missing)
    pads = [pad for total, low in zip(missing[::-1], before[::-1], strict=True) for pad in (low, total - low)]
    return F.pad(image, pads), before


def _rows(size: Sequence[int], window: Triple, overlap: float) -> dict[int, list[tuple[slice, slice]]]:
    """For each first slice, in rising order, the (y, x) places of the windows that begin there."""
    interval = [
        side if side == length else max(int(side * (1 - overlap)), 1) for side, length in zip(window, size, strict=True)
    ]
    rows: dict[int, list[tuple[slice, slice]]] = {}
    for z, y, x in dense_patch_slices(size, window, interval):
        rows.setdefault(int(z.start), []).append((y, x))
    return rows


def _computed(
    run: Run, row: Tensor, places: list[tuple[slice, slice]], batch: int
) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
    """(place, logits (channel, z, y, x) on the CPU) of the windows at these (y, x) places of one row of windows."""
    while places:
        some = places[:batch]
        try:
            logits = run(torch.stack([row[None, :, y, x] for y, x in some])).float().cpu()
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            torch.cuda.empty_cache()
            batch //= 2
            continue
        yield from zip(some, logits, strict=True)
        places = places[batch:]


def _mean(sums: Tensor, weights: Tensor, card: Card) -> Tensor:
    return torch.where(weights > 0, organ_logits(sums / weights, card), NOWHERE)


def _inside(start: int, logits: Tensor, shape: Sequence[int], margin: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    """The part of a slab that belongs to the image, not to the air around it."""
    first, low = start - margin[0], max(margin[0] - start, 0)
    high = min(logits.shape[1], shape[0] - first)
    if low < high:
        y, x = (slice(before, before + length) for before, length in zip(margin[1:], shape[1:], strict=True))
        yield first + low, logits[:, low:high, y, x]

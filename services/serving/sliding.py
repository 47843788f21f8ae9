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

from services.core.errors import AtlasError, Reason
from services.serving.card import Card, Triple
from services.serving.channels import organ_logits

Run = Callable[[Tensor], Tensor]
"""Windows (b, 1, z, y, x) float32 -> logits (b, channel, z, y, x), on whatever device computes them."""

Place = tuple[slice, slice]
"""Where a window lies in a row of windows, (y, x)."""

CPU = torch.device("cpu")

NOWHERE = -30.0
"""The logit where no window was computed: a probability that is stored as 0."""

_BODY_SHARE = 0.002
"""A window with a smaller share of voxels denser than the low end of `hu_window` holds air, or a rim of skin."""


def logit_slabs(
    run: Run, image: Tensor, card: Card, *, batch: int = 1, device: torch.device = CPU
) -> Iterator[tuple[int, Tensor]]:
    """(first slice, logits (organ, dz, y, x) float32) slab after slab, which together are the whole of `image`.

    `image` is (z, y, x) float32 in [0, 1] on the CPU; what is summed, and the logits, are on `device`, where `run`
    answers. At once in its memory: the logits of as many slices as a window has. `batch` windows are computed at a
    time; fewer from the moment on when the GPU's memory does not hold them. Raises torch.OutOfMemoryError if it does
    not hold one, and MODEL_ANSWER_INVALID for logits that are not finite.
    """
    padded, margin = _padded(image, card.window)
    size = tuple(padded.shape)
    weight = compute_importance_map(card.window, mode="gaussian", sigma_scale=card.gaussian_sigma).to(device)
    rows = _rows(size, card.window, card.overlap)
    channels = card.channel_count if card.is_softmax else len(card.organs)
    sums = torch.zeros((channels, card.window[0], *size[1:]), device=device)
    weights = torch.zeros((card.window[0], *size[1:]), device=device)
    least = _BODY_SHARE * math.prod(map(min, card.window, image.shape))
    batches = _Batches(run, batch)
    for start, following in pairwise([*rows, size[0]]):
        row = padded[start : start + card.window[0]].to(device)
        for (y, x), logits in batches.computed(row, _with_body(row, rows[start], least)):
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


def _rows(size: Sequence[int], window: Triple, overlap: float) -> dict[int, list[Place]]:
    """For each first slice, in rising order, the (y, x) places of the windows that begin there."""
    interval = [
        side if side == length else max(int(side * (1 - overlap)), 1) for side, length in zip(window, size, strict=True)
    ]
    rows: dict[int, list[Place]] = {}
    for z, y, x in dense_patch_slices(size, window, interval):
        rows.setdefault(int(z.start), []).append((y, x))
    return rows


def _with_body(row: Tensor, places: list[Place], least: float) -> list[Place]:
    """Those of the windows at these places of one row (z, y, x) that hold `least` voxels of body."""
    dense = torch.count_nonzero(row, dim=0)
    # One list for all: on a GPU every number that is asked for alone is waited for.
    counts = torch.stack([dense[place].sum() for place in places]).tolist()
    return [place for place, count in zip(places, counts, strict=True) if count >= least]


class _Batches:
    """Computes windows, `size` of them at a time. What did not fit once is not tried again."""

    def __init__(self, run: Run, size: int) -> None:
        self._run, self._size = run, size

    def computed(self, row: Tensor, places: list[Place]) -> Iterator[tuple[Place, Tensor]]:
        """(place, logits (channel, z, y, x)) of the windows at these places of one row of windows."""
        while places:
            some = places[: self._size]
            logits = self._fitting(torch.stack([row[None, :, y, x] for y, x in some]))
            if logits is None:
                # Not where it is caught: until then the error holds what is to be let go.
                torch.cuda.empty_cache()
                self._size = len(some) // 2
                continue
            yield from zip(some, logits, strict=True)
            places = places[len(some) :]

    def _fitting(self, windows: Tensor) -> Tensor | None:
        """Logits (b, channel, z, y, x), None where memory holds no more than half of the windows."""
        try:
            return _finite(self._run(windows).float())
        except torch.OutOfMemoryError:
            if len(windows) == 1:
                raise
            return None


def _finite(logits: Tensor) -> Tensor:
    # One sum, because it is quicker than a look at each. What is not finite would be stored as "absent".
    if not torch.isfinite(logits.sum()):
        raise AtlasError(
            Reason.MODEL_ANSWER_INVALID,
            "The network's logits are not finite numbers.",
            field="model",
            remedy="Its weights are damaged, or diverged when it was trained: serve another version.",
        )
    return logits


def _mean(sums: Tensor, weights: Tensor, card: Card) -> Tensor:
    return torch.where(weights > 0, organ_logits(sums / weights, card), NOWHERE)


def _inside(start: int, logits: Tensor, shape: Sequence[int], margin: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    """The part of a slab that belongs to the image, not to the air around it."""
    first, low = start - margin[0], max(margin[0] - start, 0)
    high = min(logits.shape[1], shape[0] - first)
    if low < high:
        y, x = (slice(before, before + length) for before, length in zip(margin[1:], shape[1:], strict=True))
        yield first + low, logits[:, low:high, y, x]

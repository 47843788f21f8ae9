"""The training loss."""

import torch
import torch.nn.functional as F  # noqa: N812 - what every torch program calls it
from torch import Tensor


def dice_and_cross_entropy(logits: Tensor, truth: Tensor, known: Tensor | None = None, boost: float = 0.0) -> Tensor:
    """Mean soft Dice loss of the organs present plus binary cross-entropy; both (batch, organ, z, y, x), truth 0 or 1.

    `known` (batch, organ) is 1 where the case's source looked for the organ (everywhere if None): elsewhere nothing is
    learned, not even background.

    An organ that the crop does not hold would turn Dice into noise, so there cross-entropy teaches alone. An organ that
    fills less than the share `boost` of a crop weighs as much as if it filled that share: without, a network that once
    gave up a small organ sees next to no gradient from it.
    """
    known = logits.new_ones(logits.shape[:2]) if known is None else known.to(logits.dtype)
    looked = known[:, :, None, None, None]
    probability, truth = logits.sigmoid() * looked, truth * looked
    axes = (0, 2, 3, 4)
    size = truth.sum(axes)
    wanted = boost * known.sum(0) * truth[0, 0].numel()
    weight = (wanted / size.clamp(min=1)).clamp(min=1).view(-1, 1, 1, 1)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=weight, reduction="none")
    cross_entropy = (entropy.mean((2, 3, 4)) * known).sum() / known.sum().clamp(min=1)
    dice = (2 * (probability * truth).sum(axes) + 1) / (probability.sum(axes) + size + 1)
    present = (size > 0).to(dice.dtype)
    return torch.sum((1 - dice) * present) / present.sum().clamp(min=1) + 3 * cross_entropy

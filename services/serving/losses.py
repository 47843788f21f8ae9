"""The training loss."""

import torch.nn.functional as F  # noqa: N812 - what every torch program calls it
from torch import Tensor


def dice_and_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean soft Dice loss of the organs present plus binary cross-entropy; both (batch, organ, z, y, x), truth 0 or 1.

    An organ that the crop does not hold would turn Dice into noise, so there cross-entropy teaches alone.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truth)
    probability = logits.sigmoid()
    axes = (0, 2, 3, 4)
    size = truth.sum(axes)
    dice = (2 * (probability * truth).sum(axes) + 1) / (probability.sum(axes) + size + 1)
    present = (size > 0).to(dice.dtype)
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1) + 3 * cross_entropy

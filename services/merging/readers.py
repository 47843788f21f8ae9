"""One mask out of several readers' masks of one organ, and where they disagree: pure functions of one signature."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from services.core.boxes import Boxed, Mask, crop
from services.merging import staple
from services.merging.layers import union
from services.merging.policy import Readers

MAX_READERS = staple.MAX_RATERS

Consensus = Callable[[staple.Patterns, int], Mask]
"""From who sees the organ where, inside a box around all that they see, and the number of readers, to the mask, 0/1."""


def majority(seen: staple.Patterns, readers: int) -> Mask:
    """Where more than half of the readers see the organ."""
    return np.asarray(2 * staple.votes(readers) > readers, np.uint8)[seen]


def most_probable(seen: staple.Patterns, readers: int) -> Mask:
    """Where STAPLE finds the organ more probable than not."""
    return np.asarray(staple.probabilities(seen, readers) > 0.5, np.uint8)[seen]


CONSENSUS: Mapping[Readers, Consensus] = {
    Readers.MAJORITY: majority,
    Readers.STAPLE: most_probable,
    Readers.ADJUDICATED: majority,
}


def agree(masks: Sequence[Boxed], rule: Readers) -> tuple[Boxed, Boxed]:
    """The mask of 2 to `MAX_READERS` readers' 0/1 masks, and per voxel how many of them say other than that mask."""
    around = union(masks)
    if not around.voxels.size:
        return around, around
    seen = staple.patterns([_within(around, mask) for mask in masks])
    mask = CONSENSUS[rule](seen, len(masks))
    seeing = staple.votes(len(masks))[seen]
    against = np.where(mask != 0, np.uint8(len(masks)) - seeing, seeing)
    return crop(mask, around.corner), crop(against, around.corner)


def _within(around: Boxed, mask: Boxed) -> Mask:
    """A mask in the box of `around`, which holds it."""
    box = Boxed(around.corner, np.zeros_like(around.voxels))
    if mask.voxels.size:
        box.within(mask.slices)[...] = mask.voxels
    return box.voxels

"""STAPLE: what several raters mean together, by how often each of them is right.

Warfield, Zou and Wells 2004 (doi 10.1109/TMI.2004.828354): expectation maximisation of the probability that a voxel is
the organ, and of each rater's sensitivity and specificity. Voxels about which all raters say the same share one
probability, so the sums run over at most 2^raters patterns and not over voxels. Start, prior and end are ITK's.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from services.core.boxes import Mask

MAX_RATERS = 16
MAX_ITERATIONS = 500
_STILL = 1e-14
"""Squared change of every sensitivity and specificity at which it ends."""

Patterns = npt.NDArray[np.uint16]
Table = npt.NDArray[np.float64]


def patterns(masks: Sequence[Mask] | Mask) -> Patterns:
    """Who sees the organ where: bit n of a voxel is that of mask n (k, j, i), 0/1; one to `MAX_RATERS` masks."""
    result = np.zeros(masks[0].shape, np.uint16)
    for number, mask in enumerate(masks):
        result |= np.left_shift(mask, number, dtype=np.uint16)
    return result


def votes(raters: int) -> npt.NDArray[np.uint8]:
    """How many raters see the organ, per pattern; shape (2^raters,)."""
    return np.array([pattern.bit_count() for pattern in range(1 << raters)], np.uint8)


def probabilities(seen: Patterns, raters: int) -> Table:
    """The probability that a voxel is the organ, per pattern; shape (2^raters,), 0 for patterns that do not occur.

    `seen` are the patterns (k, j, i) of the region in which the raters are judged, which is not empty.
    """
    counts = np.zeros(1 << raters, np.int64)
    # Plane by plane, because NumPy counts copies of eight bytes a voxel.
    for plane in seen:
        counts += np.bincount(plane.ravel(), minlength=1 << raters)
    occurring = np.flatnonzero(counts)
    voxels = counts[occurring].astype(np.float64)
    says = (occurring[:, None] >> np.arange(raters)) & 1 == 1
    chance = says.mean(axis=1)
    prior = float((chance * voxels).sum() / voxels.sum())
    before = np.full(2 * raters, -10.0)
    for _ in range(MAX_ITERATIONS):
        inside, outside = voxels * chance, voxels * (1 - chance)
        sensitivity = (inside[:, None] * says).sum(axis=0) / max(inside.sum(), _STILL)
        specificity = (outside[:, None] * ~says).sum(axis=0) / max(outside.sum(), _STILL)
        yes = prior * np.where(says, sensitivity, 1 - sensitivity).prod(axis=1)
        no = (1 - prior) * np.where(says, 1 - specificity, specificity).prod(axis=1)
        total = yes + no
        chance = np.divide(yes, total, out=np.zeros_like(yes), where=total > 0)
        now = np.concatenate([sensitivity, specificity])
        if ((now - before) ** 2 <= _STILL).all():
            break
        before = now
    table = np.zeros(1 << raters)
    table[occurring] = chance
    return table

"""One mask out of several models, on the CT's own grid: pure functions of one signature.

None of them ever holds the floats of a channel: probabilities and votes are bytes, summed with whole weights slab by
slab.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from services.core.blocks import SLAB
from services.core.boxes import EMPTY, Boxed, crop
from services.core.ensemble import Ensemble, Stack
from services.core.geometry import Geometry
from services.core.resample import to_ct_mask
from services.merging import staple
from services.merging.policy import Fusion

Fuser = Callable[[Ensemble, str, Geometry, Sequence[int]], Boxed]
"""From the models that have an organ, the organ, the CT's grid and the models' weights (whole numbers of 1 or more) to
its mask on that grid, 0/1; empty if it is nowhere."""


def mean(ensemble: Ensemble, organ: str, ct: Geometry, weights: Sequence[int]) -> Boxed:
    """Where the weighted mean of the probabilities, interpolated, is above one half."""
    return to_ct_mask(ensemble.slabs(organ), ensemble.geometry, ct, weights=weights)


def majority(ensemble: Ensemble, organ: str, ct: Geometry, weights: Sequence[int]) -> Boxed:
    """Where the weighted share of the models that see the organ, interpolated, is above one half."""
    votes = ((first, _seen(stack) * np.uint8(255)) for first, stack in ensemble.slabs(organ))
    return to_ct_mask(votes, ensemble.geometry, ct, weights=weights)


def most_probable(ensemble: Ensemble, organ: str, ct: Geometry, weights: Sequence[int]) -> Boxed:
    """Where the probability that STAPLE finds, interpolated, is above one half. Weights do not count: it finds its own.

    The models are judged in the smallest box around all that they see.
    """
    seen = np.zeros(ensemble.geometry.array_shape, np.uint16)
    for first, stack in ensemble.slabs(organ):
        seen[first : first + stack.shape[1]] = staple.patterns(_seen(stack))
    box = crop((seen != 0).view(np.uint8))
    if not box.voxels.size:
        return EMPTY
    stored = np.floor(255 * staple.probabilities(seen[box.slices], len(weights))).astype(np.uint8)
    starts = range(0, len(seen), SLAB)
    slabs = ((start, stored[seen[None, start : start + SLAB]]) for start in starts if seen[start : start + SLAB].any())
    return to_ct_mask(slabs, ensemble.geometry, ct, weights=[1])


def _seen(stack: Stack) -> Stack:
    """1 where a model sees the organ: its probability, stored as floor(255 p), is above one half."""
    return np.asarray(stack >> 7, np.uint8)


FUSIONS: Mapping[Fusion, Fuser] = {
    Fusion.MEAN: mean,
    Fusion.MAJORITY: majority,
    Fusion.WEIGHTED: mean,
    Fusion.STAPLE: most_probable,
}

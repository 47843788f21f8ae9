"""`combined_labels`: one label map derived from masks that may overlap.

Where masks overlap, the organ of the higher origin is painted (source over revision over AI), and among organs of one
origin the one with the lower id, because a rule that depends on nothing but the voxel's own masks gives the same map in
every order of painting. The masks stay the truth: what the map cannot show is not lost.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.boxes import Boxed, Mask
from services.core.classmaps import ClassMap
from services.merging.precedence import Choice

Ranks = npt.NDArray[np.int16]


def ranks(choices: Sequence[Choice], class_map: ClassMap) -> Ranks:
    """Per label id, where it stands among those that claim one voxel: the lowest rank is painted. Shape (256,)."""
    table = np.full(256, np.iinfo(np.int16).max, np.int16)
    order = sorted((choice.origin, class_map.id_of(choice.organ)) for choice in choices)
    for rank, (_, label) in enumerate(order):
        table[label] = rank
    return table


def paint_ranked(combined: Mask, mask: Boxed, label: int, ranks: Ranks) -> None:
    """Write `label` into `combined`, in place, wherever `mask` is set and no label of a lower rank stands."""
    _paint(combined[mask.slices], mask.voxels, np.uint8(label), ranks)


# For arrays that are parts of others, so that one compiled version serves all.
@njit("void(u1[:,:,:], u1[:,:,:], u1, i2[::1])", nogil=True, cache=True)
def _paint(combined, mask, label, ranks):  # type: ignore[no-untyped-def]
    depth, height, width = mask.shape
    for k in range(depth):
        for j in range(height):
            for i in range(width):
                # Background has the highest rank of all.
                if mask[k, j, i] and ranks[label] < ranks[combined[k, j, i]]:
                    combined[k, j, i] = label

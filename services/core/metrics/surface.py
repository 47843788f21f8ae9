"""The surface of a mask as bits, one a grid corner, so that 64 corners are handled at once."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.boxes import Mask

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Surface:
    """A mask and its surface as bits, (k, j, word); bit `x % 64` of word `x // 64` belongs to x.

    `corners` marks where eight voxels meet that are not all alike. Around the corner (k, j, x) lie the `voxels` at k
    and k + 1, j and j + 1, x and x + 1; outside the mask nothing is set.
    """

    voxels: Words
    corners: Words

    @classmethod
    def of(cls, mask: Mask) -> "Surface":
        """Of a mask (k, j, i), all of it."""
        depth, height, width = mask.shape
        # The margin of one voxel is a whole byte on the left, so that packed bytes need not be shifted.
        voxels = np.zeros((depth + 2, height + 2, (8 + width + 1 + 63) // 64), np.uint64)
        packed = np.packbits(mask, axis=2, bitorder="little")
        voxels.view(np.uint8)[1:-1, 1:-1, 1 : 1 + packed.shape[2]] = packed
        return cls(voxels, _corners(voxels))


@njit("u8[:,:,::1](u8[:,:,::1])", nogil=True, cache=True)
def _corners(voxels):  # type: ignore[no-untyped-def]
    depth, height, words = voxels.shape
    corners = np.zeros((depth - 1, height - 1, words), np.uint64)
    one, top = np.uint64(1), np.uint64(63)
    for k in range(depth - 1):
        for j in range(height - 1):
            a, b, c, d = voxels[k, j], voxels[k, j + 1], voxels[k + 1, j], voxels[k + 1, j + 1]
            some, every = a[0] | b[0] | c[0] | d[0], a[0] & b[0] & c[0] & d[0]
            for w in range(words):
                next_some, next_every = np.uint64(0), np.uint64(0)
                if w + 1 < words:
                    next_some = a[w + 1] | b[w + 1] | c[w + 1] | d[w + 1]
                    next_every = a[w + 1] & b[w + 1] & c[w + 1] & d[w + 1]
                # Shifted, bit x is what stands at x + 1.
                any_of_8 = some | (some >> one) | (next_some << top)
                all_of_8 = every & ((every >> one) | (next_every << top))
                corners[k, j, w] = any_of_8 & ~all_of_8
                some, every = next_some, next_every
    return corners


@njit("u1(u8[:,:,::1], i8, i8, i8)", nogil=True, cache=True, inline="always")
def neighbourhood(voxels, k, j, x):  # type: ignore[no-untyped-def]
    """The eight voxels around a corner, in the order of `elements.element_areas_mm2`."""
    code, bit = np.uint64(0), np.uint64(0)
    for a in range(2):
        for b in range(2):
            for c in range(2):
                at = np.uint64(x + c)
                word = voxels[k + a, j + b, at >> np.uint64(6)]
                code |= ((word >> (at & np.uint64(63))) & np.uint64(1)) << bit
                bit += np.uint64(1)
    return np.uint8(code)

"""The heat of the parity profile, compiled: inconsistency + uncertainty + overlap, and what of that is stored.

The original computes in float64, floor(255 H / max H), and so does this wherever it matters; float32 tells beforehand
where it does not. No float64 operation is fused or re-ordered, so that what is stored equals NumPy's to the last bit.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.ensemble import Stack
from services.core.lanes import at_least, lowest, popcount, squeeze
from services.uncertainty import bitplanes
from services.uncertainty.bitplanes import Words
from services.uncertainty.signs import ENTROPIES

_INCONSISTENT, _UNCERTAIN, _OVERLAP = np.uint8(1), np.uint8(2), np.uint8(4)

_SHARES = np.arange(256) / 255
_ENTROPY_SHARES = ENTROPIES / 255

_LANES = 1024
_NEAR = 1e-3
"""How near to a whole number 255 H / max H is computed again. float32 is off by less than a third of it."""


def stored(values: Stack, inconsistent: Words, uncertain: Words, overlap: Words) -> npt.NDArray[np.uint8]:
    """floor(255 H / max H) for the union of three bit planes, in C order, 1 at least; H adds up what its bits say.

    `values` are the probabilities (model, voxel) of the union.
    """
    signs = np.empty(bitplanes.count(inconsistent | uncertain | overlap), np.uint8)
    _signs(inconsistent.reshape(-1), uncertain.reshape(-1), overlap.reshape(-1), signs)
    estimates = np.empty(len(signs), np.float32)
    _estimate(values, signs, ENTROPIES, estimates)
    most = _most(values, signs, _SHARES, _ENTROPY_SHARES, estimates)
    out = np.empty(len(signs), np.uint8)
    _store(values, signs, _SHARES, _ENTROPY_SHARES, estimates, most, out)
    return out


@njit(nogil=True, cache=True)
def _signs(inconsistent, uncertain, overlap, out):  # type: ignore[no-untyped-def]
    """The bits of each voxel of the union as one byte."""
    lanes, at = np.empty(64, np.uint8), 0
    for v in range(len(overlap)):
        differ, unsure, shared = inconsistent[v], uncertain[v], overlap[v]
        if differ | unsure | shared:
            for bit in range(64):
                b = np.uint64(bit)
                lanes[bit] = (
                    ((differ >> b) & np.uint64(1))
                    | (((unsure >> b) & np.uint64(1)) << np.uint64(1))
                    | (((shared >> b) & np.uint64(1)) << np.uint64(2))
                )
            squeeze(lanes, 0, differ | unsure | shared, out, at)
            at += popcount(differ | unsure | shared)


@njit(nogil=True, cache=True)
def _estimate(values, signs, entropies, out):  # type: ignore[no-untyped-def]
    models, voxels = values.shape
    total, squares, entropy = np.empty(_LANES, np.int32), np.empty(_LANES, np.int32), np.empty(_LANES, np.int32)
    share = np.float32(1 / (255 * models))
    for first in range(0, voxels, _LANES):
        size = min(_LANES, voxels - first)
        for v in range(size):
            total[v], squares[v], entropy[v] = 0, 0, 0
        for n in range(models):
            row = values[n, first : first + size]
            for v in range(size):
                s = np.int32(row[v])
                total[v] += s
                squares[v] += s * s
            for v in range(size):
                entropy[v] += entropies[row[v]]
        part, flags = out[first : first + size], signs[first : first + size]
        for v in range(size):
            spread = np.int32(models) * squares[v] - total[v] * total[v]
            deviation = np.sqrt(np.float32(spread)) * np.float32(flags[v] & _INCONSISTENT != 0)
            doubt = np.float32(entropy[v]) * np.float32(flags[v] & _UNCERTAIN != 0)
            part[v] = (deviation + doubt) * share + np.float32(flags[v] & _OVERLAP != 0)


@njit(nogil=True, cache=True)
def _most(values, signs, shares, entropy_shares, estimates):  # type: ignore[no-untyped-def]
    """The largest H."""
    # Numbers that are not negative are in the order of their bits, and whole numbers are compared many at a time.
    ranks, high = estimates.view(np.int32), np.int32(0)
    for v in range(len(ranks)):
        high = max(high, ranks[v])
    least = (np.full(1, high, np.int32).view(np.float32) * np.float32(1 - 1e-5)).view(np.int32)[0]
    near, most = np.zeros(_LANES, np.uint8), 0.0
    for first in range(0, len(ranks), _LANES):
        part = ranks[first : first + _LANES]
        for v in range(len(part)):
            near[v] = part[v] >= least
        for v in range(len(part), _LANES):
            near[v] = 0
        for block in range(0, _LANES, 64):
            word = at_least(near, block, np.uint8(1))
            while word:
                v = first + block + lowest(word)
                most = max(most, _exact(values, v, signs[v], shares, entropy_shares))
                word &= word - np.uint64(1)
    return most


@njit(nogil=True, cache=True)
def _store(values, signs, shares, entropy_shares, estimates, most, out):  # type: ignore[no-untyped-def]
    near = np.zeros(_LANES, np.uint8)
    scale = np.float32(255 / most) if most > 0 else np.float32(0)
    margin = np.float32(_NEAR)
    for first in range(0, len(out), _LANES):
        size = min(_LANES, len(out) - first)
        part, target = estimates[first : first + size], out[first : first + size]
        for v in range(size):
            heat = part[v] * scale
            whole = np.int32(heat)
            target[v] = whole
            rest = heat - np.float32(whole)
            near[v] = (rest < margin) | (rest > np.float32(1) - margin)
        for v in range(size, _LANES):
            near[v] = 0
        for block in range(0, size, 64):
            word = at_least(near, block, np.uint8(1))
            while word:
                v = first + block + lowest(word)
                out[v] = np.floor(_exact(values, v, signs[v], shares, entropy_shares) / most * 255)
                word &= word - np.uint64(1)


@njit(nogil=True, cache=True)
def _exact(values, v, signs, shares, entropy_shares):  # type: ignore[no-untyped-def]
    """H as NumPy computes it; `shares` and `entropy_shares` are divided by 255 beforehand."""
    models = len(values)
    heat, entropy = 0.0, 0.0
    if signs & _INCONSISTENT:
        mean = shares[values[0, v]]
        for n in range(1, models):
            mean += shares[values[n, v]]
        mean /= models
        squares = (shares[values[0, v]] - mean) ** 2
        for n in range(1, models):
            squares += (shares[values[n, v]] - mean) ** 2
        heat = np.sqrt(squares / models)
    if signs & _UNCERTAIN:
        entropy = entropy_shares[values[0, v]]
        for n in range(1, models):
            entropy += entropy_shares[values[n, v]]
        entropy /= models
    return heat + entropy + (1.0 if signs & _OVERLAP else 0.0)

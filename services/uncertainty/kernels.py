"""Voxel arithmetic of the parity profile, compiled.

Probabilities are uint8 (model, k, j, i); what is said of every voxel goes into bit planes (`bitplanes`), and only the
voxels that are flagged are looked at a second time. Floating point is float64, model after model in their order, as
NumPy reduces the first axis of a stack; no operation is fused or re-ordered, so that the results equal NumPy's bit for
bit.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.ensemble import Stack
from services.uncertainty import bitplanes, thresholds
from services.uncertainty.bitplanes import Words, highest, least, packed, popcount

Values = npt.NDArray[np.float64]


def _stored_entropies() -> npt.NDArray[np.int32]:
    p = np.arange(1, 256) / 255
    stored: npt.NDArray[np.int32] = np.concatenate([[0], np.floor(255 * (-p * np.log(p)))]).astype(np.int32)
    return stored


ENTROPIES = _stored_entropies()
"""floor(255 e) with e = -p ln p, for p = s / 255; at most 93."""

_RISING = np.maximum.accumulate(ENTROPIES)
_FALLING = np.maximum.accumulate(ENTROPIES[::-1])[::-1].copy()
"""The largest entropy of all probabilities up to s, and from s on."""


@dataclass(frozen=True)
class Flags:
    """Bit planes of one organ: where the ensemble sees it, where its models differ, where they are unsure."""

    majority: Words
    inconsistent: Words
    uncertain: Words

    @staticmethod
    def none(shape: tuple[int, int, int]) -> "Flags":
        """Nothing on a grid of `shape` (k, j, i)."""
        return Flags(bitplanes.empty(shape), bitplanes.empty(shape), bitplanes.empty(shape))

    def of(self, slices: slice) -> "Flags":
        """The planes of some slices, as views."""
        return Flags(self.majority[slices], self.inconsistent[slices], self.uncertain[slices])

    def unsure(self, slices: slice) -> Words:
        """Where the models of some slices differ or are unsure."""
        return cast(Words, self.inconsistent[slices] | self.uncertain[slices])


def scan(stack: Stack, out: Flags) -> None:
    """Set the flags of a stack (model, k, j, i) in `out`, which is all 0 and has as many slices.

    Equal to mean > 0.5, std > 0.10 and mean entropy > 0.05 in float64 (see `thresholds`).
    """
    _scan(stack, _limits(len(stack)), ENTROPIES, _RISING, _FALLING, out.majority, out.inconsistent, out.uncertain)


def kept(values: Stack, before: Words, after: Words) -> Stack:
    """Those of the `values` gathered for the bits of `before` whose bit is in `after` too."""
    out = np.empty((bitplanes.count(after), values.shape[1]), np.uint8)
    _keep(values, before.reshape(-1), after.reshape(-1), out)
    return out


def heat(values: Stack, inconsistent: Words, uncertain: Words, overlap: Words) -> Values:
    """Inconsistency + uncertainty + overlap, each where its bit is set, for the voxels of their union in C order.

    `values` are the probabilities (voxel, model) of the union of the first two.
    """
    out = np.empty(bitplanes.count(inconsistent | uncertain | overlap))
    shares, entropy_shares = np.arange(256) / 255, ENTROPIES / 255
    _heat(values, shares, entropy_shares, inconsistent.reshape(-1), uncertain.reshape(-1), overlap.reshape(-1), out)
    return out


class _Limits(NamedTuple):
    """What sums over the models are compared with. Below a limit there is neither a flag nor a tie."""

    majority: int
    majority_tie: int
    majority_limit: int
    spread: int
    spread_tie: int
    spread_limit: int
    entropy: int
    entropy_tie: int
    entropy_limit: int


@cache
def _limits(models: int) -> _Limits:
    every = (thresholds.majority(models), thresholds.inconsistency(models), thresholds.uncertainty(models))
    m, i, u = ((one.least, one.tie, one.tie if one.tie >= 0 else one.least) for one in every)
    return _Limits(*m, *i, *u)


@njit(nogil=True, cache=True)
def _mean(values):  # type: ignore[no-untyped-def]
    total = values[0] / 255.0
    for n in range(1, len(values)):
        total += values[n] / 255.0
    return total / len(values)


@njit(nogil=True, cache=True)
def _deviation(values):  # type: ignore[no-untyped-def]
    mean = _mean(values)
    first = values[0] / 255.0 - mean
    total = first * first
    for n in range(1, len(values)):
        other = values[n] / 255.0 - mean
        total += other * other
    return np.sqrt(total / len(values))


@njit(nogil=True, cache=True)
def _mean_entropy(values, entropies):  # type: ignore[no-untyped-def]
    total = entropies[values[0]] / 255.0
    for n in range(1, len(values)):
        total += entropies[values[n]] / 255.0
    return total / len(values)


@njit(nogil=True, cache=True)
def _nothing(high, rule, rising):  # type: ignore[no-untyped-def]
    """Whether no voxel can be flagged, or in the majority, where the models stay at `high` or below."""
    total, squares, entropy = np.int64(0), np.int64(0), np.int64(0)
    for n in range(len(high)):
        s = np.int64(high[n])
        total += s
        squares += s * s
        entropy += rising[high[n]]
    return total < rule.majority_limit and len(high) * squares < rule.spread_limit and entropy < rule.entropy_limit


@njit(nogil=True, cache=True)
def _everything(low, rule, falling):  # type: ignore[no-untyped-def]
    """Whether every voxel is in the majority, and none can be flagged, where the models stay at `low` or above."""
    total, squares, entropy = np.int64(0), np.int64(0), np.int64(0)
    for n in range(len(low)):
        s = 255 - np.int64(low[n])
        total += np.int64(low[n])
        squares += s * s
        entropy += falling[low[n]]
    return total >= rule.majority and len(low) * squares < rule.spread_limit and entropy < rule.entropy_limit


@njit(nogil=True, cache=True)
def _scan(stack, rule, entropies, rising, falling, majority, inconsistent, uncertain):  # type: ignore[no-untyped-def]
    models, _, height, width = stack.shape
    sums, found = np.empty((3, 64), np.int32), np.empty((3, 64), np.uint8)
    high, low = np.empty(models, np.uint8), np.empty(models, np.uint8)
    eights = found.view(np.uint64)
    for k in range(len(majority)):
        for n in range(models):
            high[n] = highest(stack[n, k].reshape(-1))
        if _nothing(high, rule, rising):
            continue
        for j in range(height):
            for n in range(models):
                high[n] = highest(stack[n, k, j])
            if _nothing(high, rule, rising):
                continue
            for w in range(majority.shape[2]):
                first, last = 64 * w, min(64 * w + 64, width)
                for n in range(models):
                    high[n] = highest(stack[n, k, j, first:last])
                if _nothing(high, rule, rising):
                    continue
                for n in range(models):
                    low[n] = least(stack[n, k, j, first:last])
                if _everything(low, rule, falling):
                    majority[k, j, w] = ~np.uint64(0) >> np.uint64(64 - (last - first))
                    continue
                _flag(stack, k, j, first, last, rule, entropies, sums, found)
                majority[k, j, w] = packed(eights[0])
                inconsistent[k, j, w], uncertain[k, j, w] = packed(eights[1]), packed(eights[2])


@njit(nogil=True, cache=True)
def _flag(stack, k, j, first, last, rule, entropies, sums, found):  # type: ignore[no-untyped-def]
    """Majority, inconsistent, uncertain as uint8 0 or 1 (3, 64) for up to 64 voxels of a row.

    `sums` is scratch.
    """
    models, voxels = len(stack), last - first
    sums[...], found[...] = 0, 0
    total, squares, entropy = sums[0], sums[1], sums[2]
    for n in range(models):
        values = stack[n, k, j, first:last]
        for v in range(voxels):
            s = np.int32(values[v])
            total[v] += s
            squares[v] += s * s
        for v in range(voxels):
            entropy[v] += entropies[values[v]]
    # One comparison a loop, or they are not turned into vector instructions.
    count, least_total = np.int32(models), np.int32(rule.majority)
    least_spread, least_entropy = np.int32(rule.spread), np.int32(rule.entropy)
    for v in range(64):
        squares[v] = count * squares[v] - total[v] * total[v]
    for v in range(64):
        found[0, v] = np.uint8(total[v] >= least_total)
    for v in range(64):
        found[1, v] = np.uint8(squares[v] >= least_spread)
    for v in range(64):
        found[2, v] = np.uint8(entropy[v] >= least_entropy)
    if rule.majority_tie >= 0 or rule.spread_tie >= 0 or rule.entropy_tie >= 0:
        row = stack[:, k, j, first:last]
        for v in range(voxels):
            if total[v] == rule.majority_tie:
                found[0, v] = _mean(row[:, v]) > 0.5
            if squares[v] == rule.spread_tie:
                found[1, v] = _deviation(row[:, v]) > 0.10
            if entropy[v] == rule.entropy_tie:
                found[2, v] = _mean_entropy(row[:, v], entropies) > 0.05


@njit(nogil=True, cache=True)
def _keep(values, before, after, out):  # type: ignore[no-untyped-def]
    read, at = np.int64(0), 0
    for v in range(len(before)):
        word = after[v]
        while word:
            below = (word & (~word + np.uint64(1))) - np.uint64(1)
            source = read + np.int64(popcount(before[v] & below))
            for n in range(values.shape[1]):
                out[at, n] = values[source, n]
            at += 1
            word &= word - np.uint64(1)
        read += np.int64(popcount(before[v]))


@njit(nogil=True, cache=True)
def _heat(values, shares, entropy_shares, inconsistent, uncertain, overlap, out):  # type: ignore[no-untyped-def]
    """`shares` and `entropy_shares` are what `_mean` and `_mean_entropy` divide by 255, divided beforehand."""
    models = values.shape[1]
    read, at = 0, 0
    for v in range(len(overlap)):
        differ, unsure, shared = inconsistent[v], uncertain[v], overlap[v]
        word = differ | unsure | shared
        while word:
            bit = word & (~word + np.uint64(1))
            heat, entropy = 0.0, 0.0
            if differ & bit:
                mean = shares[values[read, 0]]
                for n in range(1, models):
                    mean += shares[values[read, n]]
                mean /= models
                squares = (shares[values[read, 0]] - mean) ** 2
                for n in range(1, models):
                    squares += (shares[values[read, n]] - mean) ** 2
                heat = np.sqrt(squares / models)
            if unsure & bit:
                entropy = entropy_shares[values[read, 0]]
                for n in range(1, models):
                    entropy += entropy_shares[values[read, n]]
                entropy /= models
            read += (differ | unsure) & bit != 0
            out[at] = heat + entropy + (1.0 if shared & bit else 0.0)
            at += 1
            word ^= bit

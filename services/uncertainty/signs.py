"""The signs of the parity profile, compiled: where the ensemble sees an organ, where its models differ or are unsure.

Probabilities are uint8. What the largest ones tell of a whole block, and sums and ranges of 64 voxels, is not asked of
each voxel; the rest is decided by whole numbers, and ties by float64, model after model as NumPy reduces the first axis
of a stack: the signs equal NumPy's bit for bit (see `thresholds`).
"""

from functools import cache
from math import log
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.blocks import Chosen
from services.core.ensemble import Blocks, Stack
from services.core.lanes import at_least, highest, lowest
from services.uncertainty import thresholds
from services.uncertainty.trimmed import Trimmed


def _stored_entropies() -> npt.NDArray[np.int32]:
    p = np.arange(1, 256) / 255
    stored: npt.NDArray[np.int32] = np.concatenate([[0], np.floor(255 * (-p * np.log(p)))]).astype(np.int32)
    return stored


ENTROPIES = _stored_entropies()
"""floor(255 e) with e = -p ln p, for p = s / 255; at most 93."""

_RISING = np.maximum.accumulate(ENTROPIES)
"""The largest entropy of all probabilities up to s."""


def possible(highest: Stack) -> Chosen:
    """Where any voxel may be flagged or in the majority, by the largest probability of each model (model, ...)."""
    rule = _rule(len(highest))
    total, entropy = highest.sum(axis=0, dtype=np.int64), _RISING[highest].sum(axis=0)
    found: Chosen = (total >= rule.loud) | (entropy >= rule.entropy_lowest)
    return found


def scan(blocks: Blocks, width: int, signs: Trimmed) -> None:
    """Set the bits of three masks, majority, inconsistent and uncertain, in the blocks of a slab.

    Equal to mean > 0.5, std > 0.10 and mean entropy > 0.05 in float64. `signs` reach around the blocks and are 0 in
    them; `width` is that of the grid.
    """
    k, j, w = signs.first
    _scan(
        blocks.stack,
        blocks.places,
        (blocks.start - k, -j, -w),
        width - 64 * w,
        _rule(len(blocks.stack)),
        ENTROPIES,
        _RISING,
        signs.words,
    )


class _Rule(NamedTuple):
    """What is compared with the sum S, the range and the sum of entropies E of N models' probabilities s.

    `spread`, of N Q - S^2, `majority` and `entropy` are exact; a `*_tie` is the value just below, which float64
    decides, or -1. The others spare most voxels that. There is no sign below a sum of `something`, and none but doubt
    below `loud`. A range from `differ` on is inconsistent, below `may_differ` it is not. One probability from `unsure`
    to `sure` is enough for the ensemble to be uncertain; with a sum below `may_be_unsure`, or from `must_be_sure` on,
    it is not.
    """

    something: int
    loud: int
    majority: int
    majority_tie: int
    spread: int
    spread_tie: int
    differ: int
    may_differ: int
    entropy: int
    entropy_tie: int
    entropy_lowest: int
    unsure: int
    sure: int
    may_be_unsure: int
    must_be_sure: int


@cache
def _rule(models: int) -> _Rule:
    majority, spread, entropy = (
        of(models) for of in (thresholds.majority, thresholds.inconsistency, thresholds.uncertainty)
    )
    # For a range r N Q - S^2 is least, N r^2 / 2, if all but two models are in its middle, and most if half of the
    # models are at either end.
    most = models // 2 * (models - models // 2)
    differ = next(r for r in range(1, 256) if models * r * r >= 2 * spread.least)
    may_differ = next((r for r in range(1, 256) if most * r * r >= spread.lowest), 255)
    # E is largest, but for rounding down S ln(255 N / S), if all models say the same.
    full = 255 * models
    doubtful = [s for s in range(1, full + 1) if s * log(full / s) >= entropy.lowest - 1e-6]
    alone = np.flatnonzero(entropy.least <= ENTROPIES)
    loud = min(majority.lowest, may_differ)
    return _Rule(
        something=min(loud, doubtful[0]),
        loud=loud,
        majority=majority.least,
        majority_tie=majority.tie,
        spread=spread.least,
        spread_tie=spread.tie,
        differ=differ,
        may_differ=may_differ,
        entropy=entropy.least,
        entropy_tie=entropy.tie,
        entropy_lowest=entropy.lowest,
        unsure=int(alone[0]) if len(alone) else 255,
        sure=int(alone[-1]) if len(alone) else 0,
        may_be_unsure=doubtful[0],
        must_be_sure=doubtful[-1] + 1,
    )


@njit(nogil=True, cache=True)
def _scan(stack, places, first, width, rule, entropies, rising, planes):  # type: ignore[no-untyped-def]
    """Fill bit planes (3, k, j, w); `first` is where the slab begins in them, `width` the voxels from there on."""
    models, _, deep, high, wide = stack.shape
    # The rows of one slice of a block, one after the other, of each model.
    rows = np.empty((models, high * wide), np.uint8)
    total = np.empty(rows.shape[1], np.uint16)
    low, spread, doubt = np.empty_like(rows[0]), np.empty_like(rows[0]), np.empty_like(rows[0])
    for block in np.ndindex(places.shape):
        place = places[block]
        if place < 0:
            continue
        k, j, w = first[0] + deep * block[0], first[1] + high * block[1], first[2] + block[2]
        inside = ~np.uint64(0) >> np.uint64(max(0, wide * (w + 1) - width))
        for by in range(min(deep, planes.shape[1] - k)):
            for n in range(models):
                row, source = rows[n], stack[n, place, by].reshape(-1)
                # A loop, because an assignment takes a hundred times as long for so few bytes.
                for v in range(len(row)):
                    row[v] = source[v]
            if _is_plain(rows, rule, rising):
                continue
            _fold(rows, np.uint8(rule.unsure), np.uint8(rule.sure), total, low, spread, doubt)
            for at in range(min(high, planes.shape[2] - j)):
                if at_least(total, wide * at, np.uint16(rule.something)):
                    planes[0, k + by, j + at, w] = _majority(rows, at, rule, total) & inside
                    planes[1, k + by, j + at, w] = _inconsistent(rows, at, rule, spread) & inside
                    planes[2, k + by, j + at, w] = _uncertain(rows, at, rule, total, doubt, entropies) & inside


# What follows is inlined: to call it takes as long as to do it, because a rule is passed number by number.
@njit(nogil=True, cache=True, forceinline=True)
def _is_plain(rows, rule, rising):  # type: ignore[no-untyped-def]
    """Whether no voxel of rows can be flagged or in the majority, by the largest probability of each model."""
    total, entropy = np.int64(0), np.int64(0)
    for n in range(len(rows)):
        high = highest(rows[n])
        total += np.int64(high)
        entropy += rising[high]
    return total < rule.loud and entropy < rule.entropy_lowest


@njit(nogil=True, cache=True, forceinline=True)
def _fold(rows, unsure, sure, total, low, spread, doubt):  # type: ignore[no-untyped-def]
    """Sum and range over the models, and whether one model alone makes the voxel uncertain; `low` is scratch."""
    total[:], low[:], spread[:], doubt[:] = 0, 255, 0, 0
    for n in range(len(rows)):
        row = rows[n]
        # One quantity a loop, or they are not turned into vector instructions.
        for v in range(len(row)):
            total[v] += row[v]
        for v in range(len(row)):
            low[v] = row[v] if row[v] < low[v] else low[v]
        for v in range(len(row)):
            spread[v] = row[v] if row[v] > spread[v] else spread[v]
        for v in range(len(row)):
            doubt[v] |= np.uint8((row[v] >= unsure) & (row[v] <= sure))
    for v in range(len(low)):
        spread[v] -= low[v]


@njit(nogil=True, cache=True, forceinline=True)
def _majority(rows, w, rule, total):  # type: ignore[no-untyped-def]
    word = at_least(total, 64 * w, np.uint16(rule.majority))
    if rule.majority_tie >= 0:
        left = at_least(total, 64 * w, np.uint16(rule.majority_tie)) & ~word
        while left:
            bit = np.uint64(lowest(left))
            word |= np.uint64(_mean(rows[:, 64 * w + bit]) > 0.5) << bit
            left &= left - np.uint64(1)
    return word


@njit(nogil=True, cache=True, forceinline=True)
def _inconsistent(rows, w, rule, spread):  # type: ignore[no-untyped-def]
    word = at_least(spread, 64 * w, np.uint8(rule.differ))
    left = at_least(spread, 64 * w, np.uint8(rule.may_differ)) & ~word
    while left:
        bit = np.uint64(lowest(left))
        at, total, squares = np.uint64(64 * w) + bit, np.int64(0), np.int64(0)
        for n in range(len(rows)):
            s = np.int64(rows[n, at])
            total += s
            squares += s * s
        found = len(rows) * squares - total * total
        word |= np.uint64(found >= rule.spread) << bit
        if found == rule.spread_tie:
            word |= np.uint64(_deviation(rows[:, at]) > 0.10) << bit
        left &= left - np.uint64(1)
    return word


@njit(nogil=True, cache=True, forceinline=True)
def _uncertain(rows, w, rule, total, doubt, entropies):  # type: ignore[no-untyped-def]
    word = at_least(doubt, 64 * w, np.uint8(1))
    left = at_least(total, 64 * w, np.uint16(rule.may_be_unsure)) & ~word
    left &= ~at_least(total, 64 * w, np.uint16(rule.must_be_sure))
    while left:
        bit = np.uint64(lowest(left))
        at, found = np.uint64(64 * w) + bit, np.int64(0)
        for n in range(len(rows)):
            found += np.int64(entropies[rows[n, at]])
        word |= np.uint64(found >= rule.entropy) << bit
        if found == rule.entropy_tie:
            word |= np.uint64(_mean_entropy(rows[:, at], entropies) > 0.05) << bit
        left &= left - np.uint64(1)
    return word


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

"""Voxel arithmetic of the parity profile, compiled. A stack holds one organ's probabilities, uint8 (model, k, j, i).

Floating point is float64, model after model in their order, as NumPy reduces the first axis of a stack; no operation
is fused or re-ordered, so that the results equal NumPy's bit for bit.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.boxes import Mask
from services.core.ensemble import Stack
from services.uncertainty import thresholds

Values = npt.NDArray[np.float64]

INCONSISTENT = 1
UNCERTAIN = 2
OVERLAPPING = 4

_BLOCK = 256


def _stored_entropies() -> Mask:
    p = np.arange(1, 256) / 255
    stored: Mask = np.concatenate([[0], np.floor(255 * (-p * np.log(p)))]).astype(np.uint8)
    return stored


ENTROPIES = _stored_entropies()
"""floor(255 e) with e = -p ln p, for p = s / 255; at most 93."""


def majority(stack: Stack) -> Mask:
    """1 where the mean probability is above one half, uint8 (k, j, i)."""
    limit = thresholds.majority(len(stack))
    mask = np.empty(stack.shape[1:], np.uint8)
    _majority(stack.reshape(len(stack), -1), limit.least, limit.tie, mask.reshape(-1))
    return mask


def flags(stack: Stack) -> Mask:
    """INCONSISTENT and UNCERTAIN, uint8 (k, j, i)."""
    i, u = thresholds.inconsistency(len(stack)), thresholds.uncertainty(len(stack))
    out = np.empty(stack.shape[1:], np.uint8)
    _flags(stack.reshape(len(stack), -1), ENTROPIES, i.least, i.tie, u.least, u.tie, out.reshape(-1))
    return out


def heat(stack: Stack, flagged: Mask) -> Values:
    """Inconsistency + uncertainty + overlap, each where it is flagged, for the flagged voxels in C order."""
    out = np.empty(np.count_nonzero(flagged))
    _heat(np.ascontiguousarray(stack).reshape(len(stack), -1), ENTROPIES, np.ascontiguousarray(flagged).ravel(), out)
    return out


@njit(nogil=True, cache=True)
def _mean(stack, v):  # type: ignore[no-untyped-def]
    total = stack[0, v] / 255.0
    for n in range(1, stack.shape[0]):
        total += stack[n, v] / 255.0
    return total / stack.shape[0]


@njit(nogil=True, cache=True)
def _deviation(stack, v):  # type: ignore[no-untyped-def]
    mean = _mean(stack, v)
    first = stack[0, v] / 255.0 - mean
    total = first * first
    for n in range(1, stack.shape[0]):
        other = stack[n, v] / 255.0 - mean
        total += other * other
    return np.sqrt(total / stack.shape[0])


@njit(nogil=True, cache=True)
def _mean_entropy(stack, entropies, v):  # type: ignore[no-untyped-def]
    total = entropies[stack[0, v]] / 255.0
    for n in range(1, stack.shape[0]):
        total += entropies[stack[n, v]] / 255.0
    return total / stack.shape[0]


@njit(nogil=True, cache=True)
def _agreed(stack, start, stop):  # type: ignore[no-untyped-def]
    """0 or 255 if every model says that for every voxel of a block, as nearly everywhere in a volume; else -1."""
    some, every = np.uint8(0), np.uint8(255)
    for n in range(stack.shape[0]):
        row = stack[n, start:stop]
        for v in range(len(row)):
            some |= row[v]
            every &= row[v]
    if some == 0:
        return 0
    return 255 if every == 255 else -1


@njit(nogil=True, cache=True)
def _majority(stack, least, tie, out):  # type: ignore[no-untyped-def]
    voxels = stack.shape[1]
    for start in range(0, voxels, _BLOCK):
        stop = min(start + _BLOCK, voxels)
        agreed = _agreed(stack, start, stop)
        if agreed >= 0:
            out[start:stop] = agreed == 255
            continue
        for v in range(start, stop):
            total = np.int64(0)
            for n in range(stack.shape[0]):
                total += np.int64(stack[n, v])
            out[v] = total >= least or (total == tie and _mean(stack, v) > 0.5)


@njit(nogil=True, cache=True)
def _flags(stack, entropies, i_least, i_tie, u_least, u_tie, out):  # type: ignore[no-untyped-def]
    models, voxels = stack.shape
    for start in range(0, voxels, _BLOCK):
        stop = min(start + _BLOCK, voxels)
        if _agreed(stack, start, stop) >= 0:
            out[start:stop] = 0
            continue
        for v in range(start, stop):
            total, squares, entropy = np.int64(0), np.int64(0), np.int64(0)
            for n in range(models):
                s = np.int64(stack[n, v])
                total += s
                squares += s * s
                entropy += np.int64(entropies[s])
            spread = models * squares - total * total
            flag = 0
            if spread >= i_least or (spread == i_tie and _deviation(stack, v) > 0.10):
                flag |= INCONSISTENT
            if entropy >= u_least or (entropy == u_tie and _mean_entropy(stack, entropies, v) > 0.05):
                flag |= UNCERTAIN
            out[v] = flag


@njit(nogil=True, cache=True)
def _heat(stack, entropies, flagged, out):  # type: ignore[no-untyped-def]
    at = 0
    for v in range(stack.shape[1]):
        flag = flagged[v]
        if flag:
            i = _deviation(stack, v) if flag & INCONSISTENT else 0.0
            u = _mean_entropy(stack, entropies, v) if flag & UNCERTAIN else 0.0
            out[at] = i + u + (1.0 if flag & OVERLAPPING else 0.0)
            at += 1

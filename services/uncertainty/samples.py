"""The probabilities of the voxels whose bits are set, (model, voxel) in C order, and back onto a grid."""

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.boxes import Boxed
from services.core.ensemble import Stack
from services.uncertainty import bitplanes
from services.uncertainty.bitplanes import Words
from services.uncertainty.lanes import popcount, scatter, squeeze
from services.uncertainty.trimmed import Trimmed

Voxels = npt.NDArray[np.uint8]


def gather(stack: Stack, bits: Trimmed, start: int = 0) -> Stack:
    """The probabilities of a stack (model, k, j, i) that begins at slice `start` of the grid, where bits are set."""
    k, j, w = bits.first
    words = bits.words[max(0, start - k) : max(0, start + stack.shape[1] - k)]
    out = np.empty((len(stack), bitplanes.count(words)), np.uint8)
    _gather(stack, words, (max(k, start) - start, j, w), out)
    return out


def moved(values: Stack, before: Words, after: Words) -> Stack:
    """What was gathered for the bits of `before`, for those of `after`; 0 where only `after` has one."""
    out = np.empty((len(values), bitplanes.count(after)), np.uint8)
    _move(values, before.reshape(-1), after.reshape(-1), out)
    return out


def spread(values: Voxels, bits: Trimmed) -> Boxed:
    """A uint8 volume in its smallest box that holds `values` (voxel,) where bits are set, and 0 elsewhere."""
    k, j, i = bitplanes.bounds(bits.words)
    out = np.zeros((k.stop - k.start, j.stop - j.start, i.stop - i.start), np.uint8)
    _spread(values, bits.words[k, j], i.start, out)
    a, b, c = bits.first
    return Boxed((a + k.start, b + j.start, 64 * c + i.start), out)


@njit(nogil=True, cache=True)
def _gather(stack, words, first, out):  # type: ignore[no-untyped-def]
    at = 0
    for k in range(words.shape[0]):
        for j in range(words.shape[1]):
            for w in range(words.shape[2]):
                word = words[k, j, w]
                if word:
                    for n in range(len(stack)):
                        squeeze(stack[n, first[0] + k, first[1] + j], 64 * (first[2] + w), word, out[n], at)
                    at += popcount(word)


@njit(nogil=True, cache=True)
def _move(values, before, after, out):  # type: ignore[no-untyped-def]
    lanes = np.zeros(64, np.uint8)
    read, write = 0, 0
    for v in range(len(before)):
        if after[v]:
            for n in range(len(values)):
                if after[v] & ~before[v]:
                    lanes[:] = 0
                scatter(values[n], read, before[v], lanes, 0)
                squeeze(lanes, 0, after[v], out[n], write)
            write += popcount(after[v])
        read += popcount(before[v])


@njit(nogil=True, cache=True)
def _spread(values, words, first, out):  # type: ignore[no-untyped-def]
    lanes, at, width = np.empty(64, np.uint8), 0, out.shape[2]
    for k in range(words.shape[0]):
        for j in range(words.shape[1]):
            for w in range(words.shape[2]):
                word = words[k, j, w]
                if word:
                    lanes[:] = 0
                    scatter(values, at, word, lanes, 0)
                    at += popcount(word)
                    # A row may begin, or end, within a word.
                    low, high = max(64 * w, first), min(64 * w + 64, first + width)
                    target = out[k, j, low - first : high - first]
                    for v in range(high - low):
                        target[v] = lanes[low - 64 * w + v]

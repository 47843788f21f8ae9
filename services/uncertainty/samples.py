"""The probabilities of the voxels whose bits are set, (model, voxel) in C order, and back onto a grid."""

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.blocks import SLAB
from services.core.boxes import Boxed
from services.core.ensemble import Blocks, Stack
from services.core.lanes import popcount, scatter, squeeze
from services.uncertainty import bitplanes
from services.uncertainty.bitplanes import Words
from services.uncertainty.trimmed import Trimmed

Voxels = npt.NDArray[np.uint8]


def gather(blocks: Blocks, bits: Trimmed) -> Stack:
    """The probabilities in a slab where bits are set; 0 in blocks that were not read."""
    here = bits.slices(blocks.start, blocks.start + SLAB)
    k, j, w = here.first
    out = np.zeros((len(blocks.stack), bitplanes.count(here.words)), np.uint8)
    _gather(blocks.stack, blocks.places, here.words, (k - blocks.start, j, w), out)
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
def _gather(stack, places, words, first, out):  # type: ignore[no-untyped-def]
    _, _, deep, high, _ = stack.shape
    at = 0
    for k in range(words.shape[0]):
        for j in range(words.shape[1]):
            layer, row = (first[0] + k) // deep, (first[1] + j) // high
            for w in range(words.shape[2]):
                word = words[k, j, w]
                if word:
                    place = places[layer, row, first[2] + w]
                    if place >= 0:
                        for n in range(len(stack)):
                            source = stack[n, place, (first[0] + k) % deep, (first[1] + j) % high]
                            squeeze(source, 0, word, out[n], at)
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
    at = 0
    for k in range(words.shape[0]):
        for j in range(words.shape[1]):
            for w in range(words.shape[2]):
                word = words[k, j, w]
                if word:
                    # A word may begin before its row, or end behind it, but no bit of it lies there.
                    scatter(values, at, word, out[k, j], 64 * w - first)
                    at += popcount(word)

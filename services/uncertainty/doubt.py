"""Where an ensemble doubts its own label, compiled: bit planes of sums over the models, and sums over regions.

With S the sum of the models' uint8 probabilities and 255 N its largest value, the evidence against a label's voxel is
255 N - S inside the label and S outside.
"""

from dataclasses import dataclass
from functools import cache
from math import log

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.components import Runs
from services.core.ensemble import Stack
from services.uncertainty import bitplanes
from services.uncertainty.bitplanes import Words, least, packed
from services.uncertainty.lanes import highest, popcount

FINE = 65536
"""Entropies are whole numbers of 1/65536 nat, so that sums do not depend on the order of models or voxels."""

Table = npt.NDArray[np.int64]
Corner = tuple[int, int, int]


@dataclass(frozen=True)
class Doubt:
    """Bit planes of one organ: S above one half, and S or 255 N - S from the weak and the strong sum on.

    The last two, of 255 N - S, only where S is above one half.
    """

    majority: Words
    more: Words
    much_more: Words
    less: Words
    much_less: Words

    @staticmethod
    def none(shape: tuple[int, int, int]) -> "Doubt":
        """Nothing on a grid of `shape` (k, j, i)."""
        return Doubt(*(bitplanes.empty(shape) for _ in range(5)))

    def add(self, stack: Stack, start: int, weak: int, strong: int) -> None:
        """Set the bits of a stack (model, k, j, i) that begins at slice `start`, where all bits are still 0."""
        part = slice(start, start + stack.shape[1])
        planes = (self.majority, self.more, self.much_more, self.less, self.much_less)
        _scan(stack, weak, strong, *(plane[part] for plane in planes))


@dataclass(frozen=True)
class Sums:
    """Whole numbers by region (row) and, for faces, by axis k, j, i (column)."""

    voxels: Table
    first: Table
    last: Table
    index: Table
    """Sum of the voxels' indices k, j, i."""
    flip: Table
    entropy: Table
    """Of the mean, in 1/65536 nat."""
    information: Table
    """N times the mutual information between models and label, in 1/65536 nat."""
    core: Table
    foreign: Table
    found: Table
    kept_faces: Table
    other_faces: Table


@cache
def tables(models: int) -> tuple[Table, Table]:
    """round(65536 h) for the sum of the models' probabilities, 0 to 255 N, and for one probability, 0 to 255.

    h is the entropy of a yes or no in nats.
    """
    return _entropies(255 * models), _entropies(255)


def _entropies(full: int) -> Table:
    inner = [p / full for p in range(1, full)]
    values = [0.0, *(-p * log(p) - (1 - p) * log(1 - p) for p in inner), 0.0]
    table: Table = np.round(FINE * np.array(values)).astype(np.int64)
    return table


def surface(words: Words, width: int) -> tuple[int, int, int]:
    """Faces along k, j and i between a voxel that is set and one that is not, inside the grid."""
    k, j, i = _surface(words, width)
    return int(k), int(j), int(i)


def without(runs: Runs, corner: Corner, words: Words, marks: Words) -> None:
    """Clear the components of `words` that hold a bit of `marks`; `runs` are theirs in a box at `corner`."""
    _without(runs.height, runs.rows, runs.begin, runs.end, runs.component, runs.count, corner, words, marks)


def sums(
    runs: Runs,
    corner: Corner,
    width: int,
    values: Stack,
    *,
    inside: bool,
    core: int,
    own: Words,
    label: Words,
    others: Words,
    found: Words,
) -> Sums:
    """The sums over every component of `runs`, which lie in a box at `corner`.

    `values` are the probabilities (voxel, model) of the runs in C order, `own` the bits of all of them, `width` that
    of the grid. `inside`: whether they lie in the label, so that the evidence is 255 N - S.
    """
    of_mean, of_model = tables(values.shape[1])

    def zeros(*shape: int) -> Table:
        return np.zeros((runs.count, *shape), np.int64)

    result = Sums(
        voxels=zeros(),
        first=np.full((runs.count, 3), np.iinfo(np.int64).max),
        last=zeros(3),
        index=zeros(3),
        flip=zeros(),
        entropy=zeros(),
        information=zeros(),
        core=zeros(),
        foreign=zeros(),
        found=zeros(),
        kept_faces=zeros(3),
        other_faces=zeros(3),
    )
    of = (runs.height, runs.rows, runs.begin, runs.end, runs.component)
    _sums(
        *of, corner, width, values, inside, core, of_mean, of_model, own, label, others, found, *vars(result).values()
    )
    return result


@njit(nogil=True, cache=True)
def _scan(stack, weak, strong, majority, more, much_more, less, much_less):  # type: ignore[no-untyped-def]
    models, _, height, width = stack.shape
    full = 255 * models
    total, found = np.empty(64, np.int32), np.empty((5, 64), np.uint8)
    eights = found.view(np.uint64)
    # 2 S > 255 N from `half` on.
    half, least_weak, least_strong = np.int32(full // 2 + 1), np.int32(weak), np.int32(strong)
    for k in range(len(majority)):
        high = np.int64(0)
        for n in range(models):
            high += np.int64(highest(stack[n, k].reshape(-1)))
        if high < weak:
            continue
        for j in range(height):
            high = np.int64(0)
            for n in range(models):
                high += np.int64(highest(stack[n, k, j]))
            if high < weak:
                continue
            for w in range(majority.shape[2]):
                first, last = 64 * w, min(64 * w + 64, width)
                high, low = np.int64(0), np.int64(0)
                for n in range(models):
                    high += np.int64(highest(stack[n, k, j, first:last]))
                if high < weak:
                    continue
                for n in range(models):
                    low += np.int64(least(stack[n, k, j, first:last]))
                if low > full - weak:
                    every = ~np.uint64(0) >> np.uint64(64 - (last - first))
                    majority[k, j, w] = more[k, j, w] = much_more[k, j, w] = every
                    continue
                total[...] = 0
                for n in range(models):
                    values = stack[n, k, j, first:last]
                    for v in range(len(values)):
                        total[v] += np.int32(values[v])
                _compare(total, np.int32(full), half, least_weak, least_strong, found)
                majority[k, j, w], more[k, j, w] = packed(eights[0]), packed(eights[1])
                much_more[k, j, w], less[k, j, w] = packed(eights[2]), packed(eights[3])
                much_less[k, j, w] = packed(eights[4])


@njit(nogil=True, cache=True)
def _compare(total, full, half, weak, strong, found):  # type: ignore[no-untyped-def]
    # One comparison a loop, or they are not turned into vector instructions.
    for v in range(64):
        found[0, v] = np.uint8(total[v] >= half)
    for v in range(64):
        found[1, v] = np.uint8(total[v] >= weak)
    for v in range(64):
        found[2, v] = np.uint8(total[v] >= strong)
    for v in range(64):
        found[3, v] = np.uint8(full - total[v] >= weak) & found[0, v]
    for v in range(64):
        found[4, v] = np.uint8(full - total[v] >= strong) & found[0, v]


@njit(nogil=True, cache=True)
def _surface(words, width):  # type: ignore[no-untyped-def]
    depth, height, row_words = words.shape
    along_k, along_j, along_i = np.int64(0), np.int64(0), np.int64(0)
    for k in range(depth):
        plane = words[k].reshape(-1)
        if k + 1 < depth:
            after = words[k + 1].reshape(-1)
            for v in range(len(plane)):
                along_k += np.int64(popcount(plane[v] ^ after[v]))
        for v in range(len(plane) - row_words):
            along_j += np.int64(popcount(plane[v] ^ plane[v + row_words]))
        for j in range(height):
            for w in range(row_words):
                word = words[k, j, w]
                after = words[k, j, w + 1] if w + 1 < row_words else np.uint64(0)
                pairs = min(64, width - 1 - 64 * w)
                if pairs > 0:
                    valid = ~np.uint64(0) >> np.uint64(64 - pairs)
                    along_i += np.int64(popcount((word ^ (word >> np.uint64(1) | after << np.uint64(63))) & valid))
    return along_k, along_j, along_i


@njit(nogil=True, cache=True)
def _in_run(row, begin, end, w):  # type: ignore[no-untyped-def]
    """The bits of word w of a row that lie in [begin, end)."""
    word = row[w]
    if begin > 64 * w:
        word &= ~np.uint64(0) << np.uint64(begin - 64 * w)
    if end < 64 * w + 64:
        word &= ~np.uint64(0) >> np.uint64(64 * w + 64 - end)
    return word


@njit(nogil=True, cache=True)
def _bits(row, begin, end):  # type: ignore[no-untyped-def]
    """Number of bits of a row in [begin, end)."""
    total = np.int64(0)
    for w in range(begin >> 6, ((end - 1) >> 6) + 1):
        total += np.int64(popcount(_in_run(row, begin, end, w)))
    return total


@njit(nogil=True, cache=True)
def _without(height, rows, begin, end, component, count, corner, words, marks):  # type: ignore[no-untyped-def]
    marked = np.zeros(count, np.bool_)
    for clearing in (False, True):
        for row in range(len(rows) - 1):
            k, j = corner[0] + row // height, corner[1] + row % height
            for run in range(rows[row], rows[row + 1]):
                first, last = corner[2] + begin[run], corner[2] + end[run]
                if not clearing:
                    if not marked[component[run]] and _bits(marks[k, j], first, last):
                        marked[component[run]] = True
                elif marked[component[run]]:
                    for w in range(first >> 6, ((last - 1) >> 6) + 1):
                        words[k, j, w] &= ~_in_run(words[k, j], first, last, w)


# fmt: off
@njit(nogil=True, cache=True)
def _sums(height, rows, begin, end, component, corner, width, values, inside, core, of_mean, of_model,  # type: ignore[no-untyped-def]
          own, label, others, found, voxels, first, last, index, flip, entropy, information, cores, foreign,
          founds, kept, other):
# fmt: on
    models = values.shape[1]
    full, at = 255 * models, 0
    for row in range(len(rows) - 1):
        k, j = corner[0] + row // height, corner[1] + row % height
        for run in range(rows[row], rows[row + 1]):
            c, b, e = component[run], corner[2] + begin[run], corner[2] + end[run]
            length = e - b
            voxels[c] += length
            first[c, 0], first[c, 1], first[c, 2] = min(first[c, 0], k), min(first[c, 1], j), min(first[c, 2], b)
            last[c, 0], last[c, 1], last[c, 2] = max(last[c, 0], k), max(last[c, 1], j), max(last[c, 2], e - 1)
            index[c, 0] += k * length
            index[c, 1] += j * length
            index[c, 2] += (b + e - 1) * length // 2
            for v in range(at, at + length):
                total, of_models = np.int64(0), np.int64(0)
                for n in range(models):
                    total += np.int64(values[v, n])
                    of_models += of_model[values[v, n]]
                doubt = full - total if inside else total
                flip[c] += doubt
                cores[c] += doubt >= core
                entropy[c] += of_mean[total]
                information[c] += models * of_mean[total] - of_models
            at += length
            foreign[c] += _bits(others[k, j], b, e)
            founds[c] += _bits(found[k, j], b, e)
            for i in (b - 1, e):
                if 0 <= i < width:
                    is_label = _bits(label[k, j], i, i + 1)
                    kept[c, 2] += is_label
                    other[c, 2] += 1 - is_label
            for axis, dk, dj in ((0, -1, 0), (0, 1, 0), (1, 0, -1), (1, 0, 1)):
                if 0 <= k + dk < len(own) and 0 <= j + dj < own.shape[1]:
                    mine, theirs = own[k + dk, j + dj], label[k + dk, j + dj]
                    for w in range(b >> 6, ((e - 1) >> 6) + 1):
                        covered = _in_run(mine, b, e, w)
                        reached = np.int64(popcount(_in_run(theirs, b, e, w) & ~covered))
                        size = min(e, 64 * w + 64) - max(b, 64 * w)
                        kept[c, axis] += reached
                        other[c, axis] += size - np.int64(popcount(covered)) - reached

"""The connected parts of bit planes, as runs of voxels."""

import numpy as np
from numba import njit

from services.core.components import Runs, numbered
from services.core.lanes import lowest, popcount
from services.uncertainty.bitplanes import Words


def runs_of(words: Words) -> Runs:
    """The labelled runs of a bit plane (k, j, w); voxels are counted from its first word."""
    rows = np.zeros(words.shape[0] * words.shape[1] + 1, np.int64)
    _count(words, rows)
    begin, end = np.empty(rows[-1], np.int16), np.empty(rows[-1], np.int16)
    _fill(words, begin, end)
    return numbered(words.shape[1], rows, begin, end)


def clear_marked(words: Words, runs: Runs, marks: Words) -> None:
    """Clear the components of a bit plane that hold a bit of `marks`; `runs` are the bit plane's."""
    marked = np.zeros(runs.count, np.bool_)
    _clear((runs.height, runs.rows, runs.begin, runs.end, runs.component), words, marks, marked)


@njit(nogil=True, cache=True)
def in_run(row, begin, end, w):  # type: ignore[no-untyped-def]
    """The bits of word w of a row that lie in [begin, end)."""
    word = row[w]
    if begin > 64 * w:
        word &= ~np.uint64(0) << np.uint64(begin - 64 * w)
    if end < 64 * w + 64:
        word &= ~np.uint64(0) >> np.uint64(64 * w + 64 - end)
    return word


@njit(nogil=True, cache=True)
def bits_in(row, begin, end):  # type: ignore[no-untyped-def]
    """Number of bits of a row in [begin, end)."""
    total = np.int64(0)
    for w in range(begin >> 6, ((end - 1) >> 6) + 1):
        total += popcount(in_run(row, begin, end, w))
    return total


@njit(nogil=True, cache=True)
def _count(words, rows):  # type: ignore[no-untyped-def]
    """Number of the first run of every row (k, j), and at the end the number of runs."""
    depth, height, width = words.shape
    for k in range(depth):
        for j in range(height):
            before, found = np.uint64(0), np.int64(0)
            for w in range(width):
                word = words[k, j, w]
                found += popcount(word & ~(word << np.uint64(1) | before))
                before = word >> np.uint64(63)
            rows[k * height + j + 1] = rows[k * height + j] + found


@njit(nogil=True, cache=True)
def _fill(words, begin, end):  # type: ignore[no-untyped-def]
    """First voxel of every run, and the first one after it."""
    depth, height, width = words.shape
    run = 0
    for k in range(depth):
        for j in range(height):
            inside = False
            for w in range(width):
                word, place = words[k, j, w], 0
                # Bits before `place` are done with; inside a run its end is looked for, the lowest 0.
                while place < 64:
                    left = (~word if inside else word) >> np.uint64(place)
                    if left == 0:
                        break
                    place += lowest(left)
                    if inside:
                        end[run] = 64 * w + place
                        run += 1
                    else:
                        begin[run] = 64 * w + place
                    inside = not inside
            if inside:
                end[run] = 64 * width
                run += 1


@njit(nogil=True, cache=True)
def _clear(runs, words, marks, marked):  # type: ignore[no-untyped-def]
    height, rows, begin, end, component = runs
    for clearing in (False, True):
        for row in range(len(rows) - 1):
            k, j = row // height, row % height
            for run in range(rows[row], rows[row + 1]):
                first, last = begin[run], end[run]
                if not clearing:
                    if not marked[component[run]] and bits_in(marks[k, j], first, last):
                        marked[component[run]] = True
                elif marked[component[run]]:
                    for w in range(first >> 6, ((last - 1) >> 6) + 1):
                        words[k, j, w] &= ~in_run(words[k, j], first, last, w)

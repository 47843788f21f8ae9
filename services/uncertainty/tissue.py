"""What the CT says about a label: which HU are an organ's own, and where voxels speak against their label.

HU are averaged over a small box, so that noise counts less. With f the frequencies of an organ's inner voxels over bins
of HU, and g those of its surroundings, a voxel's evidence for the organ is ln((f + 0.001) / (g + 0.001)), at most 4
either way. Both come from the same case, so contrast phase and scanner do not matter; where an organ looks like what
is around it, or its contents like anything, there is no evidence.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.components import Runs
from services.core.lanes import lowest
from services.uncertainty import bitplanes, morphology
from services.uncertainty.bitplanes import Words
from services.uncertainty.calibration import TissueConstants, radii

LOWEST_HU, BIN_HU, BINS = -1000, 10, 200
UNIT = 1024
"""Evidence is in whole numbers of 1/1024 nat, so that sums do not depend on the order of voxels."""
MOST = 4.0
RARE = 1e-3

Hounsfield = npt.NDArray[np.int16]
Table = npt.NDArray[np.int64]
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Tissue:
    """How one organ looks in one CT, and the voxels that look as if their label were wrong."""

    hu: Hounsfield
    """Averaged HU (k, j, i) of the box that the bits are of."""
    evidence: Table
    """By bin of HU, for the organ and against its surroundings, in 1/1024 nat."""
    likeness: float
    """Of the organ to its surroundings: 0 if they share no HU, 1 if they look the same (Bhattacharyya)."""
    odd: float
    """Share of the organ's inner voxels that speak against it."""
    like: Words
    """Thick parts outside the label, near it and in no other organ, that look like the organ."""
    unlike: Words
    """Thick parts of the label that do not."""


class TissueSums(NamedTuple):
    """Whole numbers by region: of its voxels, and of those two averaging boxes away along the axes."""

    evidence: Table
    hu: Table
    label_hu: Table
    """Of voxels of the label that are not of such a region."""
    label_count: Table
    outer_hu: Table
    outer_count: Table


def averaged(
    ct: Hounsfield, part: tuple[slice, slice, slice], spacing_mm: Spacing, constants: TissueConstants
) -> Hounsfield:
    """The mean HU, to the nearest whole number, of the box around each voxel of a part of the grid.

    `part` are slices (k, j, i) that may reach beyond the end of the grid; the edge goes on beyond it.
    """
    start = np.array([one.start for one in part])
    stop = np.array([min(one.stop, size) for one, size in zip(part, ct.shape, strict=True)])
    result = np.empty(stop - start, np.int16)
    _average(np.ascontiguousarray(ct), start, stop, np.array(radii(spacing_mm, constants.average_mm)), result)
    return result


def reach(spacing_mm: Spacing, constants: TissueConstants) -> tuple[int, int, int]:
    """How far from a label, in voxels along k, j and i, a region lies or is compared with."""
    k, j, i = (
        far + max(1, 2 * size)
        for far, size in zip(
            radii(spacing_mm, constants.reach_mm), radii(spacing_mm, constants.average_mm), strict=True
        )
    )
    return k, j, i


def tissue_of(
    hu: Hounsfield, label: Words, others: Words, spacing_mm: Spacing, constants: TissueConstants, open_mm: float
) -> Tissue | None:
    """How the organ of a label looks; None if too little of it lies inside its border to tell.

    `hu` is what `averaged` gives, of a box that holds what lies as far from the label as `reach` says.
    `label` and `others` are the bits of the organ and of all other organs; spacing along k, j and i.
    """
    width, voxel = hu.shape[2], float(np.prod(spacing_mm))
    core = morphology.eroded(label, radii(spacing_mm, constants.core_mm))
    if bitplanes.count(core) * voxel < constants.least_core_mm3:
        return None
    far = morphology.dilated(label, width, radii(spacing_mm, constants.reach_mm))
    shell = far & ~morphology.dilated(label, width, radii(spacing_mm, constants.core_mm))
    inner, outer = _frequencies(hu, core), _frequencies(hu, shell)
    nats = np.clip(np.log((inner + RARE) / (outer + RARE)), -MOST, MOST)
    evidence = np.round(UNIT * nats).astype(np.int64)
    least, thick = round(UNIT * constants.least_nats), radii(spacing_mm, open_mm)
    free = far & ~label & ~morphology.dilated(others, width, radii(spacing_mm, constants.average_mm))
    return Tissue(
        hu,
        evidence,
        likeness=float(np.sqrt(inner * outer).sum()),
        odd=bitplanes.count(_marked(hu, core, evidence <= -least)) / bitplanes.count(core),
        like=morphology.opened(_marked(hu, free, evidence >= least), thick),
        unlike=morphology.opened(_marked(hu, label, evidence <= -least), thick),
    )


def sums(
    runs: Runs,
    own: Words,
    label: Words,
    tissue: Tissue,
    spacing_mm: Spacing,
    constants: TissueConstants,
) -> TissueSums:
    """The sums over every component of `runs`, which are those of `own`."""
    result = TissueSums(*(np.zeros(runs.count, np.int64) for _ in TissueSums._fields))
    step = np.array([max(1, 2 * r) for r in radii(spacing_mm, constants.average_mm)])
    of = (runs.height, runs.rows, runs.begin, runs.end, runs.component)
    _sums(of, own, label, tissue.hu, tissue.evidence, step, result)
    return result


def _frequencies(hu: Hounsfield, words: Words) -> npt.NDArray[np.float64]:
    """Share of the set voxels in each bin of HU, smoothed over five bins by the weights 1, 2, 3, 2, 1."""
    counts = np.zeros(BINS, np.int64)
    _histogram(hu, words, counts)
    wide = np.pad(counts, 2, mode="edge")
    smooth = wide[:-4] + 2 * wide[1:-3] + 3 * wide[2:-2] + 2 * wide[3:-1] + wide[4:]
    return np.asarray(smooth / max(9 * int(counts.sum()), 1), np.float64)


def _marked(hu: Hounsfield, words: Words, bins: npt.NDArray[np.bool_]) -> Words:
    """The set voxels whose HU lie in one of the bins."""
    marked = np.zeros_like(words)
    _mark(hu, words, bins, marked)
    return marked


@njit(nogil=True, cache=True)
def _bin(hu):  # type: ignore[no-untyped-def]
    return min(max((np.int64(hu) - LOWEST_HU) // BIN_HU, 0), BINS - 1)


@njit(nogil=True, cache=True)
def _histogram(hu, words, counts):  # type: ignore[no-untyped-def]
    depth, height, row_words = words.shape
    for k in range(depth):
        for j in range(height):
            for w in range(row_words):
                word = words[k, j, w]
                while word:
                    counts[_bin(hu[k, j, 64 * w + lowest(word)])] += 1
                    word &= word - np.uint64(1)


@njit(nogil=True, cache=True)
def _mark(hu, words, bins, marked):  # type: ignore[no-untyped-def]
    depth, height, row_words = words.shape
    for k in range(depth):
        for j in range(height):
            for w in range(row_words):
                word, found = words[k, j, w], np.uint64(0)
                while word:
                    bit = word & (~word + np.uint64(1))
                    if bins[_bin(hu[k, j, 64 * w + lowest(word)])]:
                        found |= bit
                    word ^= bit
                marked[k, j, w] = found


@njit(nogil=True, cache=True)
def _average(ct, start, stop, radius, result):  # type: ignore[no-untyped-def]
    """The mean over the box around each voxel from `start` to `stop`; only what these boxes hold is read."""
    depth, height, width = ct.shape
    size = np.float64((2 * radius[0] + 1) * (2 * radius[1] + 1) * (2 * radius[2] + 1))
    low_j, high_j = max(0, start[1] - radius[1]), min(height, stop[1] + radius[1])
    low_i, high_i = max(0, start[2] - radius[2]), min(width, stop[2] + radius[2])
    by_plane = np.zeros((high_j - low_j, high_i - low_i), np.int32)
    # A row goes on beyond either end of the grid by its last voxel.
    before = low_i - (start[2] - radius[2])
    by_row, total = np.zeros(stop[2] - start[2] + 2 * radius[2], np.int32), np.zeros(stop[2] - start[2], np.int32)
    inner = by_row[before : before + high_i - low_i]
    for k in range(start[0], stop[0]):
        if k == start[0]:
            for by in range(-radius[0], radius[0] + 1):
                _add_plane(by_plane, ct[min(max(k + by, 0), depth - 1)], low_j, low_i, 1)
        else:
            _add_plane(by_plane, ct[max(k - 1 - radius[0], 0)], low_j, low_i, -1)
            _add_plane(by_plane, ct[min(k + radius[0], depth - 1)], low_j, low_i, 1)
        by_row[:] = 0
        for j in range(start[1], stop[1]):
            if j == start[1]:
                for by in range(-radius[1], radius[1] + 1):
                    _add(inner, by_plane[min(max(j + by, 0), height - 1) - low_j], 1)
            else:
                _add(inner, by_plane[max(j - 1 - radius[1], 0) - low_j], -1)
                _add(inner, by_plane[min(j + radius[1], height - 1) - low_j], 1)
            by_row[:before], by_row[before + len(inner) :] = inner[0], inner[len(inner) - 1]
            total[:] = 0
            for by in range(2 * radius[2] + 1):
                _add(total, by_row[by : by + len(total)], 1)
            target = result[k - start[0], j - start[1]]
            for i in range(len(total)):
                target[i] = np.floor(total[i] / size + 0.5)


@njit(nogil=True, cache=True)
def _add_plane(total, plane, low_j, low_i, times):  # type: ignore[no-untyped-def]
    for j in range(len(total)):
        _add(total[j], plane[low_j + j, low_i : low_i + total.shape[1]], times)


@njit(nogil=True, cache=True)
def _add(total, values, times):  # type: ignore[no-untyped-def]
    for v in range(len(total)):
        total[v] += np.int32(times) * np.int32(values[v])


@njit(nogil=True, cache=True)
def _sums(runs, own, label, hu, table, step, into):  # type: ignore[no-untyped-def]
    height, rows, begin, end, component = runs
    shape = hu.shape
    for row in range(len(rows) - 1):
        k, j = row // height, row % height
        for run in range(rows[row], rows[row + 1]):
            c = component[run]
            for i in range(begin[run], end[run]):
                into.evidence[c] += table[_bin(hu[k, j, i])]
                into.hu[c] += hu[k, j, i]
                for axis in range(3):
                    for sign in (-1, 1):
                        by = sign * step[axis]
                        z, y, x = k + by * (axis == 0), j + by * (axis == 1), i + by * (axis == 2)
                        if not (0 <= z < shape[0] and 0 <= y < shape[1] and 0 <= x < shape[2]):
                            continue
                        word, bit = x >> 6, np.uint64(1) << np.uint64(x & 63)
                        if own[z, y, word] & bit:
                            continue
                        if label[z, y, word] & bit:
                            into.label_hu[c] += hu[z, y, x]
                            into.label_count[c] += 1
                        else:
                            into.outer_hu[c] += hu[z, y, x]
                            into.outer_count[c] += 1

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
from services.uncertainty import bitplanes, morphology
from services.uncertainty.bitplanes import Words
from services.uncertainty.calibration import TissueConstants, radii
from services.uncertainty.lanes import lowest

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
    size = radii(spacing_mm, constants.average_mm)
    wide = tuple(slice(max(0, s.start - n), s.stop + n) for s, n in zip(part, size, strict=True))
    found = np.ascontiguousarray(ct[wide])
    if not any(size):
        return found
    result = np.empty_like(found)
    _average(found, *size, result)
    inner = tuple(
        slice(s.start - w.start, min(s.stop, n) - w.start) for s, w, n in zip(part, wide, ct.shape, strict=True)
    )
    return np.ascontiguousarray(result[inner])


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
def _average(ct, radius_k, radius_j, radius_i, result):  # type: ignore[no-untyped-def]
    depth, height, width = ct.shape
    size = np.float64((2 * radius_k + 1) * (2 * radius_j + 1) * (2 * radius_i + 1))
    by_plane = np.zeros((height, width), np.int32)
    # A row goes on beyond either end by its last voxel.
    by_row, total = np.zeros(width + 2 * radius_i, np.int32), np.zeros(width, np.int32)
    for by in range(-radius_k, radius_k + 1):
        _add(by_plane.reshape(-1), ct[min(max(by, 0), depth - 1)].reshape(-1), 1)
    for k in range(depth):
        if k:
            _add(by_plane.reshape(-1), ct[max(k - 1 - radius_k, 0)].reshape(-1), -1)
            _add(by_plane.reshape(-1), ct[min(k + radius_k, depth - 1)].reshape(-1), 1)
        by_row[:] = 0
        inner = by_row[radius_i : radius_i + width]
        for by in range(-radius_j, radius_j + 1):
            _add(inner, by_plane[min(max(by, 0), height - 1)], 1)
        for j in range(height):
            if j:
                _add(inner, by_plane[max(j - 1 - radius_j, 0)], -1)
                _add(inner, by_plane[min(j + radius_j, height - 1)], 1)
            by_row[:radius_i], by_row[radius_i + width :] = inner[0], inner[width - 1]
            total[:] = 0
            for by in range(2 * radius_i + 1):
                _add(total, by_row[by : by + width], 1)
            target = result[k, j]
            for i in range(width):
                target[i] = np.floor(total[i] / size + 0.5)


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

"""Sums over connected regions of doubt, compiled: their size, their place and what speaks for and against them.

All are whole numbers, so that they do not depend on the order of models or voxels.
"""

from functools import cache
from math import log
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.components import Runs
from services.core.ensemble import Stack
from services.core.lanes import popcount
from services.uncertainty.bitplanes import Shape, Words
from services.uncertainty.runs import bits_in, in_run

FINE = 65536
"""Entropies are whole numbers of 1/65536 nat."""

Table = npt.NDArray[np.int64]


class Planes(NamedTuple):
    """Bit planes (k, j, w) of one box, which begins at voxel `corner` and ends where the grid does or a row, slice or
    word behind all bits: those of all regions, the organ's label, the other organs' and what rules point at.

    `width` are the voxels from the box's first to the end of the grid's rows.
    """

    corner: Shape
    width: int
    own: Words
    label: Words
    others: Words
    found: Words


class Sums(NamedTuple):
    """Whole numbers by region (row) and, for faces, by axis k, j, i (column); places are those in the grid."""

    voxels: Table
    first: Table
    last: Table
    index_sum: Table
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


def sums(runs: Runs, planes: Planes, values: Stack, *, inside: bool, core: int) -> Sums:
    """The sums over every component of `runs`, which are those of `planes.own`.

    `values` are the probabilities (model, voxel) of the runs in C order. `inside`: whether they lie in the label, so
    that the evidence is 255 N - S.
    """

    def zeros(*shape: int) -> Table:
        return np.zeros((runs.count, *shape), np.int64)

    result = Sums(
        voxels=zeros(),
        first=np.full((runs.count, 3), np.iinfo(np.int64).max),
        last=zeros(3),
        index_sum=zeros(3),
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
    _measure(of, planes, result)
    _weigh(of, values, inside, core, *tables(len(values)), result)
    return result


@njit(nogil=True, cache=True)
def _measure(runs, planes, into):  # type: ignore[no-untyped-def]
    """Size, place, faces and what else lies there."""
    height, rows, begin, end, component = runs
    depth = len(planes.own)
    for row in range(len(rows) - 1):
        k, j = row // height, row % height
        for run in range(rows[row], rows[row + 1]):
            # The sums make them int64, as all else is.
            c, b, e = component[run], begin[run] + 0, end[run] + 0
            length = e - b
            into.voxels[c] += length
            ends = ((k, k), (j, j), (b, e - 1))
            for axis in range(3):
                low, high = ends[axis][0] + planes.corner[axis], ends[axis][1] + planes.corner[axis]
                into.first[c, axis] = min(into.first[c, axis], low)
                into.last[c, axis] = max(into.last[c, axis], high)
                into.index_sum[c, axis] += (low + high) * length // 2
            into.foreign[c] += bits_in(planes.others[k, j], b, e)
            into.found[c] += bits_in(planes.found[k, j], b, e)
            for i in (b - 1, e):
                if 0 <= i < planes.width:
                    is_label = bits_in(planes.label[k, j], i, i + 1)
                    into.kept_faces[c, 2] += is_label
                    into.other_faces[c, 2] += 1 - is_label
            for axis, dk, dj in ((0, -1, 0), (0, 1, 0), (1, 0, -1), (1, 0, 1)):
                if 0 <= k + dk < depth and 0 <= j + dj < height:
                    mine, theirs = planes.own[k + dk, j + dj], planes.label[k + dk, j + dj]
                    for w in range(b >> 6, ((e - 1) >> 6) + 1):
                        covered = in_run(mine, b, e, w)
                        reached = popcount(in_run(theirs, b, e, w) & ~covered)
                        size = min(e, 64 * w + 64) - max(b, 64 * w)
                        into.kept_faces[c, axis] += reached
                        into.other_faces[c, axis] += size - popcount(covered) - reached


@njit(nogil=True, cache=True)
def _weigh(runs, values, inside, core, of_mean, of_model, into):  # type: ignore[no-untyped-def]
    """What the models say."""
    _, _, begin, end, component = runs
    models = len(values)
    full, at = 255 * models, 0
    for run in range(len(component)):
        c, length = component[run], end[run] - begin[run]
        for v in range(at, at + length):
            total, of_models = np.int64(0), np.int64(0)
            for n in range(models):
                total += np.int64(values[n, v])
                of_models += of_model[values[n, v]]
            doubt = full - total if inside else total
            into.flip[c] += doubt
            into.core[c] += doubt >= core
            into.entropy[c] += of_mean[total]
            into.information[c] += models * of_mean[total] - of_models
        at += length

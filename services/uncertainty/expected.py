"""The volume of an organ's label that is expected to be wrong, each voxel counted once, by its most probable region."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.boxes import Corner
from services.core.components import Runs, labelled_runs
from services.uncertainty.shown import Shown

Table = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Part:
    """The runs of some regions in a box at `corner`, and by component which probability they have; -1 for none."""

    corner: Corner
    runs: Runs
    place: Table


def expected_voxels(shown: Sequence[Shown]) -> float:
    """Sum over voxels of the highest probability of the regions that hold them; 0 if there are none."""
    if not shown:
        return 0.0
    probabilities = sorted({one.region.probability for one in shown})
    parts = _parts(shown, {probability: number for number, probability in enumerate(probabilities)})
    low = [min(one.region.corner[axis] for one in shown) for axis in range(3)]
    stop = [max(one.region.corner[axis] + one.region.size[axis] for one in shown) for axis in range(3)]
    # Counted by whole voxels, so that the sum does not depend on the order of rows.
    counts = np.zeros(len(probabilities), np.int64)
    rows, begin, end, component, places = _joined(parts)
    _count(np.array([low, stop]), _tables(parts), rows, begin, end, component, places, counts)
    return fsum(probability * int(count) for probability, count in zip(probabilities, counts, strict=True))


def _parts(shown: Sequence[Shown], place: dict[float, int]) -> list[_Part]:
    parts: list[_Part] = []
    of_pieces: dict[int, Table] = {}
    for one in shown:
        number = place[one.region.probability]
        if one.finding is not None:
            runs = labelled_runs(one.finding.voxels)
            parts.append(_Part(one.finding.corner, runs, np.full(runs.count, number)))
        elif one.piece is not None:
            if id(one.piece) not in of_pieces:
                of_pieces[id(one.piece)] = np.full(one.piece.runs.count, -1)
                parts.append(_Part(one.piece.corner, one.piece.runs, of_pieces[id(one.piece)]))
            of_pieces[id(one.piece)][one.number] = number
    return parts


def _tables(parts: Sequence[_Part]) -> Table:
    """Of every part (row): its corner k, j, i, height, depth, and where its rows, runs and components begin."""
    sizes = np.array([(len(part.runs.rows), len(part.runs.begin), part.runs.count) for part in parts])
    starts = np.cumsum(sizes, axis=0) - sizes
    own = [(*part.corner, part.runs.height, (len(part.runs.rows) - 1) // max(part.runs.height, 1)) for part in parts]
    table: Table = np.concatenate([np.array(own), starts], axis=1).astype(np.int64)
    return table


def _joined(parts: Sequence[_Part]) -> tuple[npt.NDArray[Any], ...]:
    """Rows, begins, ends, components and places of all parts, one after the other."""
    runs = [part.runs for part in parts]
    return (
        np.concatenate([one.rows for one in runs]),
        np.concatenate([one.begin for one in runs]),
        np.concatenate([one.end for one in runs]),
        np.concatenate([one.component for one in runs]),
        np.concatenate([part.place for part in parts]),
    )


@njit(nogil=True, cache=True)
def _count(box, tables, rows, begin, end, component, place, counts):  # type: ignore[no-untyped-def]
    """Add up, row by row of a box, how many voxels have each place as their highest."""
    row = np.full(box[1, 2] - box[0, 2], -1, np.int64)
    for k in range(box[0, 0], box[1, 0]):
        for j in range(box[0, 1], box[1, 1]):
            first, stop = len(row), 0
            for part in range(len(tables)):
                corner_k, corner_j, corner_i, height, depth, rows_at, runs_at, components_at = tables[part]
                if not (corner_k <= k < corner_k + depth and corner_j <= j < corner_j + height):
                    continue
                at = rows_at + (k - corner_k) * height + j - corner_j
                for run in range(runs_at + rows[at], runs_at + rows[at + 1]):
                    value = place[components_at + component[run]]
                    if value < 0:
                        continue
                    low, high = corner_i + begin[run] - box[0, 2], corner_i + end[run] - box[0, 2]
                    first, stop = min(first, low), max(stop, high)
                    for i in range(low, high):
                        row[i] = max(row[i], value)
            for i in range(first, stop):
                if row[i] >= 0:
                    counts[row[i]] += 1
                    row[i] = -1

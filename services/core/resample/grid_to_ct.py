"""Where several models together see an organ, on the CT's own grid: mean, interpolation and threshold in one pass.

Slabs of the network grid come one after the other, and each is forgotten once the CT's slices in it are done: no sum,
no mean and no interpolated channel is ever there as a whole. Linear interpolation is convex, so only CT voxels between
ones above the threshold and their neighbours are looked at.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.core.boxes import EMPTY, Boxed
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.resample.alignment import Aligned, Ints, Line, Path, align, line, path, unsigned
from services.core.resample.thresholding import add_rows, clear_rows, mask_rows, mask_voxels, spans_above

Slab = tuple[int, npt.NDArray[np.uint8]]
"""First slice of the network grid, and the models' probabilities (model, z, y, x) from there: 255 for certainty."""

MAX_WEIGHT = 257
"""Of all models together, so that their sum fits uint16."""
_WINDOW = 32


def to_ct_mask(slabs: Iterable[Slab], grid: Geometry, ct: Geometry, *, weights: Sequence[int]) -> Boxed:
    """Where the models' weighted mean probability is above one half, on the grid of `ct`: 0/1, in a box around it.

    `weights` are whole numbers of 1 or more, one a model. `slabs` come in ascending order and do not overlap; where
    there is none, all probabilities are 0. A voxel is 1 where twice the interpolated, weighted sum is more than 255
    times the sum of the weights, and 0 outside `grid`. Raises GEOMETRY_MISMATCH if a slab does not lie on `grid`,
    FIELD_INVALID if the weights are none, or more than `MAX_WEIGHT` together.
    """
    if not 1 <= sum(weights) <= MAX_WEIGHT or min(weights) < 1:
        message = f"Weights of 1 or more and at most {MAX_WEIGHT} together are expected, not {list(weights)}."
        raise AtlasError(Reason.FIELD_INVALID, message, field="weights")
    # Pages that nothing is written to take no memory.
    mask = np.zeros(ct.array_shape, np.uint8)
    aligned = align(ct, grid)
    way = path(aligned.geometry, grid)
    reach = np.array([[n, 0] for n in aligned.geometry.array_shape], np.int64)
    target = _Target(aligned, way, np.float32(127.5 * sum(weights)), mask.reshape(-1), reach)
    fill = _Rows(target, grid) if way.is_parallel else _Voxels(target, grid)
    for window in _windows(slabs, grid, weights):
        fill(window)
    if reach[0, 1] == 0:
        return EMPTY
    k, j, i = aligned.region(reach)
    return Boxed((k.start, j.start, i.start), mask[k, j, i])


@dataclass(frozen=True)
class _Window:
    """Sums (z, y, x) of some slices of the grid, the first being `first`; neighbouring windows share one slice.

    `spans` (z, y, 2) hold, per row, the range of columns above the threshold; (0, 0) if there are none.
    """

    first: int
    sums: npt.NDArray[np.uint16]
    spans: npt.NDArray[np.int32]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is above the threshold."""
        return not self.spans.any()


@dataclass(frozen=True)
class _Target:
    """The mask that is filled, walked in the grid's orientation, and how far it is filled (axis, first and stop)."""

    aligned: Aligned
    path: Path
    threshold: np.float32
    flat: npt.NDArray[np.uint8]
    reach: Ints


class _Rows:
    """Fills the mask for parallel grids."""

    def __init__(self, target: _Target, grid: Geometry) -> None:
        self._target = target
        geometry = target.aligned.geometry
        self._z, self._y, self._x = (line(target.path, axis, geometry, grid) for axis in range(3))
        # CT columns on which grid column g has influence: from begin[g] to end[g].
        columns = np.arange(grid.shape[0])
        self._begin = np.maximum(np.searchsorted(self._x.high, columns, "left"), self._x.first)
        self._end = np.minimum(np.searchsorted(self._x.low, columns, "right"), self._x.stop)

    def __call__(self, window: _Window) -> None:
        z, y, x, target = self._z, self._y, self._x, self._target
        first, stop = _between_slices(z, window)
        if first >= stop or window.is_empty:
            return
        ranges = np.array([first, stop, y.first, y.stop], np.int64)
        mask_rows(
            window.sums, window.spans, target.threshold, z.low - window.first, z.high - window.first, z.weight,
            y.low, y.high, y.weight, unsigned(x.low), unsigned(x.high), x.weight, self._begin, self._end, ranges,
            target.aligned.offset, target.aligned.strides, target.flat, target.reach,
        )  # fmt: skip


class _Voxels:
    """Fills the mask for grids at an angle."""

    def __init__(self, target: _Target, grid: Geometry) -> None:
        self._target = target
        self._shape = np.array(target.aligned.geometry.array_shape, np.int64)
        self._grid_shape = np.array(grid.array_shape, np.int64)

    def __call__(self, window: _Window) -> None:
        if window.is_empty:
            return
        target, is_above = self._target, window.spans[:, :, 1] > 0
        planes, rows = (np.flatnonzero(is_above.any(axis=axis)) for axis in (1, 0))
        columns = window.spans[:, :, 0][is_above].min(), window.spans[:, :, 1].max()
        first = window.first
        box = np.array([[first + planes[0], first + planes[-1] + 1], [rows[0], rows[-1] + 1], columns], np.int64)
        mask_voxels(
            window.sums, first, self._grid_shape, box, target.threshold, target.path.start, target.path.step,
            self._shape, target.aligned.offset, target.aligned.strides, target.flat, target.reach,
        )  # fmt: skip


def _between_slices(z: Line, window: _Window) -> tuple[int, int]:
    """The CT slices that lie between the slices of the window; no two windows have one in common."""
    last = window.first + len(window.sums) - 1
    inside = np.flatnonzero((z.low >= window.first) & (z.high <= last) & ((z.low < last) | (z.low == z.high)))
    inside = inside[(inside >= z.first) & (inside < z.stop)]
    return (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, 0)


def _windows(slabs: Iterable[Slab], grid: Geometry, weights: Sequence[int]) -> Iterator[_Window]:
    """The weighted sums of the models, window after window, each overwritten by the next one."""
    depth, height, width = grid.array_shape
    # The first slice is the one before those that come: zeros, or the last of the window before.
    sums = np.zeros((_WINDOW + 1, height, width), np.uint16)
    peaks = np.zeros((_WINDOW + 1, height), np.uint8)
    spans = np.zeros((_WINDOW + 1, height, 2), np.int32)
    position = 0
    for first, members in _pieces(slabs, grid, len(weights)):
        if first > position:
            if position > 0:
                clear_rows(sums[1:2], peaks[1:2], spans[1:2])
                yield _Window(position - 1, sums[:2], spans[:2])
            clear_rows(sums[:1], peaks[:1], spans[:1])
        stop = 1 + len(members[0])
        clear_rows(sums[1:stop], peaks[1:stop], spans[1:stop])
        for member, weight in zip(members, weights, strict=True):
            add_rows(sums[1:stop], peaks[1:stop], member, weight)
        spans_above(sums[1:stop], peaks[1:stop], 255 * sum(weights), spans[1:stop])
        start = 0 if first > 0 else 1
        yield _Window(first - 1 + start, sums[start:stop], spans[start:stop])
        for kept in (sums, peaks, spans):
            kept[0] = kept[stop - 1]
        position = first + stop - 1
    if 0 < position < depth:
        clear_rows(sums[1:2], peaks[1:2], spans[1:2])
        yield _Window(position - 1, sums[:2], spans[:2])


def _pieces(slabs: Iterable[Slab], grid: Geometry, models: int) -> Iterator[tuple[int, list[npt.NDArray[np.uint8]]]]:
    """(first slice, one array a model) of at most `_WINDOW` slices, checked."""
    depth, *plane = grid.array_shape
    position = 0
    for first, stack in slabs:
        if (
            stack.dtype != np.uint8
            or [stack.shape[0], *stack.shape[2:]] != [models, *plane]
            or not position <= first <= depth - stack.shape[1]
        ):
            raise AtlasError(
                Reason.GEOMETRY_MISMATCH,
                f"A slab of {stack.dtype} and shape {stack.shape} at slice {first} is no part of {models} models' "
                f"probabilities on {grid}.",
                field="slabs",
            )
        position = first + stack.shape[1]
        for start in range(0, stack.shape[1], _WINDOW):
            yield first + start, [np.ascontiguousarray(member[start : start + _WINDOW]) for member in stack]

"""Turns label arrays into the one posture that rules know, and regions back.

In that posture the array axes (k, j, i) run to the head, to the front and to the right, as nearly as the grid's own
axes allow: the grid is re-ordered and flipped, never resampled.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from services.core.boxes import Boxed
from services.core.geometry import Geometry

_AXES = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}
_FORWARD = "RAS"


@dataclass(frozen=True)
class Posture:
    """How the arrays on `source` are turned."""

    source: Geometry

    @cached_property
    def _turns(self) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
        """For the patient's axes S, A, R: the array axis of the source, and whether it runs backwards."""
        codes = self.source.orientation[::-1]
        order = sorted(range(3), key=lambda axis: -_AXES[codes[axis]])
        s, a, r = order
        return (s, a, r), (codes[s] not in _FORWARD, codes[a] not in _FORWARD, codes[r] not in _FORWARD)

    @cached_property
    def grid(self) -> Geometry:
        """The source's grid, re-ordered and flipped: a voxel keeps its place in the world."""
        order, flips = self._turns
        matrix = np.eye(4)
        matrix[:3, 3] = self.source.matrix[:3, 3]
        shape = [0, 0, 0]
        for axis, (source_axis, flip) in enumerate(zip(order, flips, strict=True)):
            column = self.source.matrix[:3, 2 - source_axis]
            shape[2 - axis] = self.source.array_shape[source_axis]
            matrix[:3, 2 - axis] = -column if flip else column
            if flip:
                matrix[:3, 3] += column * (shape[2 - axis] - 1)
        return Geometry.from_matrix((shape[0], shape[1], shape[2]), matrix)

    def take(self, boxed: Boxed) -> Boxed:
        """A box of the source's array in the posture."""
        order, flips = self._turns
        corner = [
            self.source.array_shape[axis] - boxed.corner[axis] - boxed.voxels.shape[axis]
            if flip
            else boxed.corner[axis]
            for axis, flip in zip(order, flips, strict=True)
        ]
        voxels = np.flip(boxed.voxels.transpose(order), [axis for axis, flip in enumerate(flips) if flip])
        return Boxed((corner[0], corner[1], corner[2]), np.ascontiguousarray(voxels))

    def give_back(self, boxed: Boxed) -> Boxed:
        """Inverse of `take`."""
        order, flips = self._turns
        shape = self.grid.array_shape
        corner = [0, 0, 0]
        for axis, (source_axis, flip) in enumerate(zip(order, flips, strict=True)):
            end = boxed.corner[axis] + boxed.voxels.shape[axis]
            corner[source_axis] = shape[axis] - end if flip else boxed.corner[axis]
        voxels = np.flip(boxed.voxels, [axis for axis, flip in enumerate(flips) if flip])
        voxels = voxels.transpose([order.index(axis) for axis in range(3)])
        return Boxed((corner[0], corner[1], corner[2]), np.ascontiguousarray(voxels))

"""The field of view, and which of its faces an organ touches."""

from dataclasses import dataclass

import numpy as np

from services.core.boxes import Boxed
from services.core.geometry import Geometry
from services.uncertainty.priors.blocks import Blocks

EDGE_MM = 3.0
"""An organ that comes nearer to a face of the field of view than this counts as cut by it."""

_FACES = (("I", "S"), ("P", "A"), ("L", "R"))
_OTHER_SIDE = dict(zip("RLAPSI", "LRPAIS", strict=True))


@dataclass(frozen=True)
class Field:
    """What was scanned: the box of `scanned`, seen from masks on `grid`."""

    grid: Geometry
    scanned: Geometry

    def touched_by(self, mask: Boxed, blocks: Blocks) -> frozenset[str]:
        """The faces that a mask on the grid comes within `EDGE_MM` of, by the side of the patient: R L A P S I."""
        if not mask.voxels.size:
            return frozenset()
        return self._own(mask) | (frozenset() if self.scanned == self.grid else self._foreign(blocks))

    def _own(self, mask: Boxed) -> frozenset[str]:
        spacing = self.grid.spacing_mm[::-1]
        touched = set()
        for axis, (low, high) in enumerate(_FACES):
            start, stop = mask.slices[axis].start, mask.slices[axis].stop
            if start * spacing[axis] < EDGE_MM:
                touched.add(low)
            if (self.grid.array_shape[axis] - stop) * spacing[axis] < EDGE_MM:
                touched.add(high)
        return frozenset(touched)

    def _foreign(self, blocks: Blocks) -> frozenset[str]:
        """The faces of a scan that need not be parallel to the grid, to the precision of half a block."""
        inverse = np.linalg.inv(self.scanned.matrix)
        index = blocks.outer_points_mm @ inverse[:3, :3].T + inverse[:3, 3]
        margin = EDGE_MM + max(blocks.edges_mm) / 2
        touched = set()
        for axis, code in enumerate(self.scanned.orientation):
            spacing, last = self.scanned.spacing_mm[axis], self.scanned.shape[axis] - 0.5
            if (index[:, axis].min() + 0.5) * spacing < margin:
                touched.add(_OTHER_SIDE[code])
            if (last - index[:, axis].max()) * spacing < margin:
                touched.add(code)
        return frozenset(touched)

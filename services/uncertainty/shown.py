"""The regions that a reviewer is shown, and the heat that they make together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor

import numpy as np

from services.core.boxes import EMPTY, Boxed
from services.core.components import labelled_runs
from services.core.geometry import Geometry
from services.uncertainty.attention import Cause, Region
from services.uncertainty.calibration import Calibration, radii
from services.uncertainty.priors.findings import Finding
from services.uncertainty.regions import Piece, paint


@dataclass(frozen=True)
class Shown:
    """A region that is shown, and the runs of component `number` that it is made of."""

    region: Region
    piece: Piece | None
    number: int
    finding: Boxed | None


def ruled(organ: str, findings: Sequence[Finding], constants: Calibration) -> Iterator[Shown]:
    """What anatomical rules point at, as far as it is probable enough."""
    for finding in findings:
        probability = constants.findings.get(finding.rule, 0.0)
        if probability >= constants.least_probability:
            mask = finding.region
            k, j, i = (float(axis.mean()) + c for axis, c in zip(np.nonzero(mask.voxels), mask.corner, strict=True))
            region = Region(
                organ,
                Cause.PRIOR,
                mask.corner,
                (mask.voxels.shape[0], mask.voxels.shape[1], mask.voxels.shape[2]),
                (k, j, i),
                finding.volume_mm3,
                probability,
                findings=(finding,),
            )
            yield Shown(region, None, 0, mask)


def heat(shown: Sequence[Shown], grid: Geometry, constants: Calibration) -> Boxed:
    """floor(255 P) of the most probable region at every voxel, each grown by a box; at least 1 where any is."""
    if not shown:
        return EMPTY
    grow = radii(grid.spacing_mm[::-1], constants.grow_mm)
    corners = np.array([one.region.corner for one in shown])
    ends = corners + [one.region.size for one in shown]
    low = np.maximum(corners.min(axis=0) - grow, 0)
    high = np.minimum(ends.max(axis=0) + grow, grid.array_shape)
    voxels, corner = np.zeros(high - low, np.uint8), (int(low[0]), int(low[1]), int(low[2]))
    for one in shown:
        if one.finding is not None:
            stored = np.array([_stored(one.region)], np.uint8)
            runs = labelled_runs(one.finding.voxels)
            paint(voxels, corner, runs, one.finding.corner, np.repeat(stored, max(1, runs.count)), grow)
    pieces = {id(one.piece): one.piece for one in shown if one.piece}
    for key, piece in pieces.items():
        by_component = np.zeros(piece.runs.count, np.uint8)
        for one in shown:
            if id(one.piece) == key:
                by_component[one.number] = _stored(one.region)
        paint(voxels, corner, piece.runs, piece.corner, by_component, grow)
    return Boxed(corner, voxels)


def _stored(region: Region) -> int:
    return max(1, floor(255 * region.probability))

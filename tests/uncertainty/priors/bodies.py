"""Anatomies made by hand: ellipsoids and boxes in RAS mm."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.core.boxes import Boxed, crop
from services.core.geometry import Geometry
from services.uncertainty.priors import catalog
from services.uncertainty.priors.anatomy import Anatomy
from services.uncertainty.priors.check import check
from services.uncertainty.priors.findings import Finding

Triple = tuple[float, float, float]

# 300 x 210 x 420 mm at 3 mm; the world's origin is in the middle of the floor. A box whose faces are multiples of 3 mm
# fills whole voxels.
GRID = Geometry.from_matrix((100, 70, 140), np.array([[3, 0, 0, -148.5], [0, 3, 0, -103.5], [0, 0, 3, 1.5]], float))


@dataclass(frozen=True)
class Shape:
    """A box or ellipsoid: its centre and half axes in RAS mm."""

    centre: Triple
    half: Triple
    is_round: bool = True

    def at(self, *centre: float) -> "Shape":
        return Shape((centre[0], centre[1], centre[2]), self.half, self.is_round)

    def paint(self, array: npt.NDArray[np.uint8], axes: list[npt.NDArray[np.float64]]) -> None:
        """Set the voxels (k, j, i) whose centres lie inside; `axes` hold the centres' R, A and S."""
        spans = [np.abs(mm - c) / h for mm, c, h in zip(axes, self.centre, self.half, strict=True)]
        parts = [np.flatnonzero(span <= 1 if self.is_round else span < 1) for span in spans]
        if all(len(part) for part in parts):
            i, j, k = (slice(part[0], part[-1] + 1) for part in parts)
            squares = spans[2][k, None, None] ** 2 + spans[1][j, None] ** 2 + spans[0][i] ** 2
            array[k, j, i] |= (squares <= 1 if self.is_round else squares < 3).astype(np.uint8)


def ball(r: float, a: float, s: float, radius: float) -> Shape:
    return Shape((r, a, s), (radius, radius, radius))


def box(r: float, a: float, s: float, *half: float) -> Shape:
    return Shape((r, a, s), (half[0], half[1], half[2]), is_round=False)


# A body with every organ in its place; centres and half axes follow an adult.
BODY: dict[str, tuple[Shape, ...]] = {
    "liver": (Shape((65, 20, 260), (70, 60, 70)),),
    "spleen": (Shape((-105, -40, 265), (24, 30, 45)),),
    "kidney_left": (Shape((-60, -50, 195), (26, 24, 50)),),
    "kidney_right": (Shape((62, -50, 190), (26, 24, 50)),),
    "stomach": (Shape((-50, 30, 262), (45, 30, 55)),),
    "pancreas": (Shape((-20, 15, 205), (55, 14, 16)),),
    "gall_bladder": (Shape((45, 50, 195), (14, 14, 24)),),
    "aorta": (box(-12, -25, 250, 9, 9, 125),),
    "postcava": (box(18, -22, 235, 9, 9, 110),),
    "lung_left": (Shape((-75, 0, 370), (55, 70, 75)),),
    "lung_right": (Shape((75, 0, 375), (55, 70, 45)),),
    "adrenal_gland_left": (Shape((-42, -42, 248), (9, 9, 12)),),
    "adrenal_gland_right": (Shape((40, -40, 245), (9, 9, 12)),),
    "bladder": (Shape((0, 30, 45), (35, 30, 25)),),
    "prostate": (ball(0, 20, 18, 15),),
    "rectum": (Shape((0, -40, 50), (18, 18, 40)),),
    "femur_left": (box(-90, 0, 20, 22, 22, 30),),
    "femur_right": (box(90, 0, 20, 22, 22, 30),),
    "colon": (Shape((90, 10, 140), (25, 25, 60)), Shape((-95, 10, 150), (25, 25, 60))),
    "duodenum": (Shape((25, 10, 190), (22, 16, 30)),),
    "esophagus": (box(-8, -5, 345, 9, 9, 60),),
}


Body = Mapping[str, tuple[Shape, ...]]


def body(**changes: Shape | tuple[Shape, ...] | None) -> dict[str, tuple[Shape, ...]]:
    """The healthy body with some organs changed, () for one that is empty, None for one that nobody looked for."""
    made = dict(BODY)
    for organ, shapes in changes.items():
        if shapes is None:
            del made[organ]
        else:
            made[organ] = (shapes,) if isinstance(shapes, Shape) else shapes
    return made


def only(shapes: Body, *organs: str) -> dict[str, tuple[Shape, ...]]:
    """Some organs of a body; nobody looked for the others."""
    return {organ: shapes[organ] for organ in organs}


def arrays(shapes: Body, grid: Geometry = GRID) -> dict[str, npt.NDArray[np.uint8]]:
    """Masks (k, j, i), on a grid along the axes R, A and S, of the voxels whose centres lie in the shapes."""
    axes = [grid.matrix[axis, 3] + grid.matrix[axis, axis] * np.arange(grid.shape[axis]) for axis in range(3)]
    masks = {organ: np.zeros(grid.array_shape, np.uint8) for organ in shapes}
    for organ, parts in shapes.items():
        for shape in parts:
            shape.paint(masks[organ], axes)
    return masks


def anatomy(masks: Mapping[str, npt.NDArray[np.uint8]], grid: Geometry = GRID) -> Anatomy:
    return Anatomy.of({organ: crop(mask) for organ, mask in masks.items()}, grid)


def findings(shapes: Body, *rules: str, grid: Geometry = GRID) -> list[Finding]:
    """What some rules, or all, say of a body on a grid that may be smaller than it."""
    return list(check(anatomy(arrays(shapes, grid), grid), catalog.find(rules)))


def told(shapes: Body, rule: str, grid: Geometry = GRID) -> dict[tuple[str, ...], dict[str, float]]:
    """Evidence by organs of what one rule says."""
    return {finding.organs: dict(finding.evidence) for finding in findings(shapes, rule, grid=grid)}


def field_of_view(low: float, high: float) -> Geometry:
    """The grid from one height to another, in mm, whole slices."""
    first, last = round(low / 3), round(high / 3)
    matrix = GRID.matrix
    matrix[2, 3] += 3 * first
    return Geometry.from_matrix((GRID.shape[0], GRID.shape[1], last - first), matrix)


def whole(region: Boxed, grid: Geometry) -> npt.NDArray[np.uint8]:
    """A region as an array of the grid."""
    array = np.zeros(grid.array_shape, np.uint8)
    array[region.slices] = region.voxels
    return array

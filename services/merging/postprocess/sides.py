"""Left and right of the organs that come in pairs."""

from collections.abc import Iterator, Sequence

import numpy as np

from services.core.boxes import Boxed, crop
from services.core.geometry import Geometry
from services.core.pairs import split
from services.merging.layers import Layers, union


def sort_sides(organs: Sequence[str], layers: Layers, grid: Geometry) -> Iterator[tuple[str, Boxed]]:
    """The two organs of a pair, each with the pieces on its own side.

    Both must take the step. What they hold together is split as an un-split pair is (`services.core.pairs`): the affine
    says which is left. It happens only if the liver agrees, which lies on the right: it must be there, and its centre
    nearer to the right organ's than to the left one's, counted from left to right. Otherwise the header may be
    mirrored, or the patient, and the masks stay for a person to look at.
    """
    for left in organs:
        right = f"{left.removesuffix('_left')}_right"
        if not left.endswith("_left") or right not in organs or "liver" not in layers:
            continue
        both = union([layers[left].mask.mask, layers[right].mask.mask])
        liver = layers["liver"].mask.mask
        if not both.voxels.size or not liver.voxels.size:
            continue
        parts = split(both.voxels, _grid_of(both, grid))
        if parts.left is None or parts.right is None:
            continue
        sides = [crop(part, both.corner) for part in (parts.left, parts.right)]
        if not all(side.voxels.size for side in sides):
            continue
        to_left, to_right = (abs(_x_mm(side, grid) - _x_mm(liver, grid)) for side in sides)
        if to_right < to_left:
            yield left, sides[0]
            yield right, sides[1]


def _grid_of(box: Boxed, grid: Geometry) -> Geometry:
    """The grid of a box's own voxels."""
    matrix = grid.matrix
    matrix[:3, 3] += matrix[:3, :3] @ np.array(box.corner[::-1])
    k, j, i = box.voxels.shape
    return Geometry.from_matrix((i, j, k), matrix)


def _x_mm(mask: Boxed, grid: Geometry) -> float:
    """World x (to the right) of a mask's centre of gravity, in mm."""
    counts = [mask.voxels.sum(axis=axes, dtype=np.int64) for axes in ((0, 1), (0, 2), (1, 2))]
    index = [float((n * np.arange(len(n))).sum() / n.sum()) for n in counts]
    i, j, k = (place + first for place, first in zip(index, mask.corner[::-1], strict=True))
    return float(grid.matrix[0] @ [i, j, k, 1.0])

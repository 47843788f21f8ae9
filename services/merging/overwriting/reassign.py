"""As `clear`; and what a higher source frees of an AI organ goes to the nearest label that AI gave."""

import math

import numpy as np

from services.core.boxes import Boxed, Mask
from services.core.geometry import Geometry
from services.merging.layers import Kind, Layers, minus, paint, take_away, union
from services.merging.overwriting.clear import clear
from services.merging.overwriting.nearest import nearest_labels
from services.merging.precedence import Origin

_MARGIN_MM = 5.0
_BACKGROUND = 255


def reassign(layers: Layers, grid: Geometry) -> Layers:
    """Freed is what AI gave to an organ for which a source or a person speaks, and what nobody claims then.

    Each goes to what is nearest among the voxels that are neither freed nor claimed by a source or a person: AI organs
    or background. Of organs at the same distance the first by name gets it, and an organ before background. Masks of
    people never grow.
    """
    result = dict(clear(layers, grid))
    given = [layer for layer in result.values() if layer.origin < Origin.AI]
    organs = sorted(organ for organ, layer in result.items() if layer.origin == Origin.AI)
    freed = union([minus(layer.predicted.mask, layer.mask.mask) for layer in given])
    closed = [layer.mask.mask for layer in given]
    masks = [result[organ].mask.mask for organ in organs]
    open_ = Boxed(freed.corner, freed.voxels.copy())
    for mask in (*closed, *masks):
        take_away(open_, mask)
    if not open_.count:
        return result
    won = _nearest(open_, union([freed, *closed]), masks, grid)
    for number, (organ, mask) in enumerate(zip(organs, masks, strict=True), start=1):
        gained = Boxed(open_.corner, (won == number).view(np.uint8))
        result[organ] = result[organ].changed(Kind.REASSIGNED, union([mask, gained]))
    return result


def _nearest(open_: Boxed, closed: Boxed, masks: list[Boxed], grid: Geometry) -> Mask:
    """Per voxel of the box of `open_` the number, from 1, of the mask that is nearest to it; 0 where it is not open.

    No voxel of `closed` counts as one of a mask or of background.
    """
    margin_mm = _MARGIN_MM
    while True:
        box = _grown(open_, margin_mm, grid)
        labels = Boxed(box.corner, np.full(box.voxels.shape, _BACKGROUND, np.uint8))
        # Backwards, so that of two that share a voxel the first stands.
        for number, mask in reversed(list(enumerate(masks, start=1))):
            paint(labels, mask, number)
        paint(labels, closed, 0)
        nearest, reach_mm = nearest_labels(labels.voxels, box.voxels, grid.spacing_mm)
        if reach_mm <= margin_mm or box.voxels.shape == grid.array_shape:
            found = Boxed(box.corner, nearest).within(open_.slices)
            return np.where(open_.voxels != 0, found, np.uint8(0))
        # What lies further away than the margin was not seen.
        margin_mm = 4 * margin_mm if math.isinf(reach_mm) else reach_mm


def _grown(mask: Boxed, margin_mm: float, grid: Geometry) -> Boxed:
    """The mask in a box that reaches so much further, as far as the grid does."""
    reach = [math.ceil(margin_mm / size) for size in reversed(grid.spacing_mm)]
    first = [max(part.start - n, 0) for part, n in zip(mask.slices, reach, strict=True)]
    stop = [min(part.stop + n, m) for part, n, m in zip(mask.slices, reach, grid.array_shape, strict=True)]
    box = Boxed((first[0], first[1], first[2]), np.zeros([b - a for a, b in zip(first, stop, strict=True)], np.uint8))
    box.within(mask.slices)[...] = mask.voxels
    return box

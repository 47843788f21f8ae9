"""What an organ's own predictions tell: its label, and where to both sides of its border the ensemble doubts it."""

from dataclasses import dataclass

import numpy as np

from services.core.boxes import Boxed
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.uncertainty import bitplanes, doubt, label
from services.uncertainty.calibration import Calibration, radii
from services.uncertainty.faces import surface
from services.uncertainty.regions import crowd, set_aside
from services.uncertainty.trimmed import Trimmed, corner_of, grown


@dataclass(frozen=True)
class Doubted:
    """A label, as a mask and as bits, and the bits of the candidate regions outside (`add`) and inside it (`remove`).

    `band_mm` is the mean width of doubt along its border, `crowd` the number of those regions (`regions.crowd`).
    """

    boxed: Boxed
    bits: Trimmed
    add: Trimmed
    remove: Trimmed
    voxels: int
    band_mm: float
    crowd: int

    @classmethod
    def of(cls, ensemble: Ensemble, organ: str, constants: Calibration) -> "Doubted":
        """Out of the predictions of one organ, which are read once."""
        grid, models = ensemble.geometry, len(ensemble.having(organ))
        weak, strong = constants.weak_sum(models), constants.strong_sum(models)
        wanted = ensemble.highest(organ).sum(axis=0, dtype=np.int64) >= weak
        planes = Trimmed.around(wanted, grid.array_shape, masks=doubt.PLANES)
        for blocks in ensemble.blocks(organ, wanted):
            doubt.scan(blocks, grid.shape[0], weak, strong, planes)
        first, (majority, more, much_more, less, much_less) = planes.first, planes.words
        mask = label.usual(organ, Trimmed(first, majority), grid)
        bits = Trimmed.packed(mask)
        inside = bits.over(planes.box)
        for plane in (more, much_more):
            plane &= ~inside
        for plane in (less, much_less):
            plane &= inside
        doubted = bitplanes.count(more) + bitplanes.count(less)
        size = radii(grid.spacing_mm[::-1], constants.open_mm)
        least = constants.least_mm3 / grid.voxel_volume_mm3
        add, remove = set_aside(more, much_more, size), set_aside(less, much_less, size)
        return cls(
            boxed=mask,
            bits=bits,
            add=Trimmed.of(add, first),
            remove=Trimmed.of(remove, first),
            voxels=mask.count,
            crowd=crowd(add, least) + crowd(remove, least),
            band_mm=doubted * grid.voxel_volume_mm3 / max(_surface_mm2(bits, grid), 1.0),
        )


def _surface_mm2(bits: Trimmed, grid: Geometry) -> float:
    """Area of a mask's surface inside the grid."""
    box = grown(bits.box, (1, 1, 1), bitplanes.words_of(grid.array_shape))
    faces = zip(surface(bits.over(box), grid.shape[0] - corner_of(box)[2]), grid.spacing_mm[::-1], strict=True)
    return sum(count * (grid.voxel_volume_mm3 / spacing) for count, spacing in faces)

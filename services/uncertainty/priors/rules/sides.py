"""Left and right: organs that come in pairs."""

from collections.abc import Iterator

import numpy as np

from services.core.boxes import Boxed
from services.uncertainty.priors.anatomy import Anatomy, Organ, shared
from services.uncertainty.priors.findings import Severity, Sign

PAIRED = ("adrenal_gland", "femur", "kidney", "lung")
SWAP_MM = 10.0
ASYMMETRY = 3.0
_WHOLE_IN_FIELD = ("adrenal_gland", "kidney")


def swapped(anatomy: Anatomy) -> Iterator[Sign]:
    """A left organ nearer to the liver than its right twin. The liver lies on the right.

    Only the distance from left to right counts: how high an organ lies, or where the field of view cuts it, says
    nothing about its side.
    """
    for left, right in _twins(anatomy):
        liver = anatomy.found("liver")
        if not liver:
            return
        to_left, to_right = (abs(organ.centre_mm[0] - liver[0].centre_mm[0]) for organ in (left, right))
        if to_left + SWAP_MM < to_right:
            yield Sign(
                (left.name, right.name),
                Severity.ERROR,
                f"{left.name} lies {to_left:.0f} mm from the liver, {right.name} {to_right:.0f} mm: they are swapped.",
                {"left_to_liver_mm": to_left, "right_to_liver_mm": to_right},
                _united(left.mask, right.mask),
            )


def overlapping(anatomy: Anatomy) -> Iterator[Sign]:
    """A left organ and its right twin in the same place."""
    for left, right in _twins(anatomy):
        both = shared(left.mask, right.mask)
        if both.count:
            volume = both.count * anatomy.grid.voxel_volume_mm3
            yield Sign(
                (left.name, right.name),
                Severity.ERROR,
                f"{left.name} and {right.name} share {both.count} voxels.",
                {"overlap_voxels": both.count, "overlap_mm3": volume},
                both,
            )


def _twins(anatomy: Anatomy) -> Iterator[tuple[Organ, Organ]]:
    for pair in PAIRED:
        twins = anatomy.found(f"{pair}_left", f"{pair}_right")
        if twins:
            yield twins[0], twins[1]


def _united(first: Boxed, second: Boxed) -> Boxed:
    """Both masks in one box."""
    low = [min(a, b) for a, b in zip(first.corner, second.corner, strict=True)]
    high = [max(a.stop, b.stop) for a, b in zip(first.slices, second.slices, strict=True)]
    voxels = np.zeros([b - a for a, b in zip(low, high, strict=True)], np.uint8)
    united = Boxed((low[0], low[1], low[2]), voxels)
    for mask in (first, second):
        united.within(mask.slices)[mask.voxels != 0] = 1
    return united

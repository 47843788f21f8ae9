"""The great vessels: aorta and postcava run side by side through the whole abdomen."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from services.core.boxes import Boxed
from services.uncertainty.priors.anatomy import EMPTY, Anatomy, Organ
from services.uncertainty.priors.findings import Severity, Sign

MISSING_SHARE = 0.03
MISSING_MM = 5.0
BESIDE_MM = 60.0
BEFORE_MM = 30.0
"""How far beside and how far before or behind the postcava the aorta may lie, and the other way round."""
_AROUND_MM = (45.0, 15.0)

Slices = npt.NDArray[np.bool_]


def truncated(anatomy: Anatomy) -> Iterator[Sign]:
    """A great vessel that is missing on slices where the other one and the organs around it are.

    The aorta goes on above the postcava's upper end, and both reach down past the kidneys: it is expected wherever the
    postcava is with a lung, or with the level of pancreas, kidneys, liver or spleen. The postcava ends in the heart,
    so it is expected only up to the middle of the liver. Above all, no vessel has a gap.
    """
    for name, other in (("aorta", "postcava"), ("postcava", "aorta")):
        vessel, guide = anatomy.organs.get(name), anatomy.organs.get(other)
        if vessel is None or guide is None or guide.is_empty:
            continue
        expected = guide.by_slice & _between_organs(anatomy, name)
        if _may_lie_outside(vessel, guide, name):
            continue
        gaps = _gaps(vessel)
        missing = (expected & ~vessel.by_slice) | gaps
        share = missing.sum() / max(1, (expected | gaps).sum())
        length_mm = float(missing.sum() * anatomy.grid.spacing_mm[2])
        if gaps.any() or (share > MISSING_SHARE and length_mm > MISSING_MM):
            yield Sign(
                (name,),
                Severity.ERROR,
                f"{name} is missing on {missing.sum()} of {(expected | gaps).sum()} slices on which it must be seen.",
                {"missing_share": float(share), "missing_mm": length_mm, "gap_slices": float(gaps.sum())},
                _where(vessel, guide, missing),
            )


def _between_organs(anatomy: Anatomy, vessel: str) -> Slices:
    """The slices that certainly show that vessel, as far as organs tell."""
    slices = np.zeros(anatomy.grid.array_shape[0], bool)
    kidneys = [organ.middle[2] for organ in anatomy.present(("kidney_left", "kidney_right"))]
    levels = [organ.middle[2] for organ in anatomy.present(("liver", "pancreas", "spleen"))]
    # A kidney may have sunk into the pelvis, hardly ever both.
    levels += [max(kidneys)] if len(kidneys) == 2 else []
    if levels:
        low, high = round(min(levels)), round(max(levels))
        slices[low : high + 1 if vessel == "postcava" else None] = True
    if vessel == "aorta":
        for lung in anatomy.present(("lung_left", "lung_right")):
            slices |= lung.by_slice
    return slices


def _may_lie_outside(vessel: Organ, guide: Organ, name: str) -> bool:
    """Whether a side of the field of view, not its top or bottom, may cut the vessel away; the aorta is on the left."""
    if vessel.is_empty:
        reach = {"L" if name == "aorta" else "R": BESIDE_MM, "A": BEFORE_MM, "P": BEFORE_MM}
        return any(guide.to_face_mm(face) < mm for face, mm in reach.items())
    return bool(vessel.cut_at - {"S", "I"})


def _gaps(vessel: Organ) -> Slices:
    """The slices between the vessel's ends without it."""
    gaps = np.zeros(len(vessel.by_slice), bool)
    if not vessel.is_empty:
        inside = vessel.mask.slices[0]
        gaps[inside] = ~vessel.by_slice[inside]
    return gaps


def _where(vessel: Organ, guide: Organ, missing: Slices) -> Boxed:
    """On the missing slices the vessel's own extent; if all of it is missing, the surroundings of the other vessel."""
    slices = np.flatnonzero(missing)
    if not len(slices):
        return EMPTY
    _, j, i = (vessel if not vessel.is_empty else guide).mask.slices
    shape, spacing = vessel.grid.array_shape, vessel.grid.spacing_mm
    side, front = (
        (0, 0) if not vessel.is_empty else tuple(round(mm / s) for mm, s in zip(_AROUND_MM, spacing, strict=False))
    )
    low = (int(slices[0]), max(0, j.start - front), max(0, i.start - side))
    high = (int(slices[-1]) + 1, min(shape[1], j.stop + front), min(shape[2], i.stop + side))
    voxels = np.zeros([b - a for a, b in zip(low, high, strict=True)], np.uint8)
    voxels[slices - low[0]] = 1
    return Boxed(low, voxels)

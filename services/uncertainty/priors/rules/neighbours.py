"""Organs that belong together, and those that stray into another part of the body."""

from collections.abc import Iterator

import numpy as np

from services.core.boxes import Boxed, crop
from services.uncertainty.priors.anatomy import ML_MM3, Anatomy, Organ
from services.uncertainty.priors.blocks import gap_mm
from services.uncertainty.priors.findings import Severity, Sign

ADJACENT_MM = (
    ("gall_bladder", "liver", 20.0),
    ("adrenal_gland_left", "kidney_left", 50.0),
    ("adrenal_gland_right", "kidney_right", 50.0),
    ("celiac_trunk", "aorta", 12.0),
    ("hepatic_vessel", "liver", 10.0),
    ("portal_vein_and_splenic_vein", "liver", 25.0),
    ("pancreas", "duodenum", 25.0),
    ("esophagus", "stomach", 30.0),
    ("prostate", "bladder", 30.0),
    ("spleen", "kidney_left", 80.0),
    ("pancreas", "postcava", 50.0),
)

THORAX_MM = 25.0
STRAY_ML = 0.5
_BELOW_DIAPHRAGM = (
    "adrenal_gland_left",
    "adrenal_gland_right",
    "bladder",
    "celiac_trunk",
    "colon",
    "duodenum",
    "femur_left",
    "femur_right",
    "gall_bladder",
    "hepatic_vessel",
    "intestine",
    "kidney_left",
    "kidney_right",
    "pancreas",
    "portal_vein_and_splenic_vein",
    "prostate",
    "rectum",
)

PROSTATE_BELOW_MM = 130.0
PROSTATE_ABOVE_MM = 30.0


def apart(anatomy: Anatomy) -> Iterator[Sign]:
    """Two organs further apart than in any patient, from surface to surface to the precision of a block.

    Silent where the neighbour may go on beyond the field of view nearer than that.
    """
    for name, neighbour, limit in ADJACENT_MM:
        organs = anatomy.found(name, neighbour)
        if not organs:
            continue
        organ, other = organs
        if any(organ.to_face_mm(face) <= limit for face in other.cut_at):
            continue
        gap = gap_mm(organ.blocks.outer_points_mm, other.blocks.outer_points_mm)
        if gap > limit:
            yield Sign(
                (name, neighbour),
                Severity.WARNING,
                f"{name} lies {gap:.0f} mm from {neighbour}; they are neighbours.",
                {"gap_mm": gap, "limit_mm": limit},
                organ.mask,
            )


def in_thorax(anatomy: Anatomy) -> Iterator[Sign]:
    """Part of an abdominal organ well above both liver and spleen, that is above the diaphragm."""
    domes = anatomy.found("liver", "spleen")
    if not domes or any("S" in organ.cut_at for organ in domes):
        return
    top = max(organ.high_mm[2] for organ in domes) + THORAX_MM
    for organ in anatomy.present(_BELOW_DIAPHRAGM):
        above = _slices(organ, organ.profile.levels_mm > top)
        volume = above.count * anatomy.grid.voxel_volume_mm3 / ML_MM3
        if volume > STRAY_ML:
            yield Sign(
                (organ.name,),
                Severity.ERROR,
                f"{volume:.1f} ml of {organ.name} lie in the thorax, over {THORAX_MM:.0f} mm above liver and spleen.",
                {"stray_ml": volume, "above_mm": organ.high_mm[2] - top + THORAX_MM},
                above,
            )


def lung_in_abdomen(anatomy: Anatomy) -> Iterator[Sign]:
    """Part of a lung below the middle of both kidneys."""
    kidneys = anatomy.found("kidney_left", "kidney_right")
    if not kidneys:
        return
    bottom = min(kidney.centre_mm[2] for kidney in kidneys)
    for organ in anatomy.present(("lung_left", "lung_right")):
        below = _slices(organ, organ.profile.levels_mm < bottom)
        volume = below.count * anatomy.grid.voxel_volume_mm3 / ML_MM3
        if volume > STRAY_ML:
            yield Sign(
                (organ.name,),
                Severity.ERROR,
                f"{volume:.1f} ml of {organ.name} lie below the middle of both kidneys.",
                {"stray_ml": volume, "below_mm": bottom - organ.low_mm[2]},
                below,
            )


def prostate_astray(anatomy: Anatomy) -> Iterator[Sign]:
    """A prostate that does not lie between the heads of the femurs.

    The femurs have to have been looked for. One that is cut at the top could be anywhere above; then nothing is said.
    """
    prostate = anatomy.found("prostate")
    femurs = [anatomy.organs.get(f"femur_{side}") for side in ("left", "right")]
    if not prostate or any(femur is None for femur in femurs):
        return
    seen = anatomy.present(("femur_left", "femur_right"))
    if any("S" in femur.cut_at for femur in seen):
        return
    centre = prostate[0].centre_mm
    if not seen:
        yield _stray_prostate(prostate[0], "no femur is in the field of view", {"femurs": 0.0})
        return
    top = float(np.mean([femur.high_mm[2] for femur in seen]))
    if not -PROSTATE_BELOW_MM < centre[2] - top < PROSTATE_ABOVE_MM:
        evidence = {"above_femurs_mm": centre[2] - top}
        yield _stray_prostate(prostate[0], f"the femurs begin {centre[2] - top:.0f} mm below it", evidence)


def _stray_prostate(prostate: Organ, why: str, evidence: dict[str, float]) -> Sign:
    message = f"The prostate lies between the heads of the femurs, but {why}."
    return Sign(("prostate",), Severity.ERROR, message, evidence, prostate.mask)


def _slices(organ: Organ, wanted: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Boxed:
    """The part of an organ on some slices of its box."""
    return crop(organ.mask.voxels * wanted[:, None, None].astype(np.uint8), organ.mask.corner)

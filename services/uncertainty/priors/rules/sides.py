"""Left and right: organs that come in pairs."""

from collections.abc import Iterator

from services.core.boxes import Boxed
from services.uncertainty.priors.anatomy import Anatomy, Organ, joined, shared
from services.uncertainty.priors.findings import Severity, Sign

_BOWEL = ("colon", "duodenum", "intestine")
PAIRED = ("adrenal_gland", "femur", "kidney", "lung")
SWAP_MM = 10.0
ASYMMETRY = 3.0
SWALLOWED_SHARE = 0.4
LEFT_HIGHER_MM = 15.0
"""The left kidney lies this much higher than the right one, on average."""


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
                joined([left.mask, right.mask]),
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


def swallowed(anatomy: Anatomy) -> Iterator[Sign]:
    """A kidney that is missing or small while another organ fills the mirror image of its twin: two organs in one mask.

    The mirror stands between aorta and postcava. A healthy neighbour covers a small part of that place; bowel, which
    may move in when a kidney is removed, does not count.
    """
    vessels = anatomy.found("aorta", "postcava")
    for name, twin_name in (("kidney_left", "kidney_right"), ("kidney_right", "kidney_left")):
        kidney, twins = anatomy.organs.get(name), anatomy.found(twin_name)
        if kidney is None or not twins or not vessels or twins[0].cut_at:
            continue
        twin = twins[0]
        if kidney.volume_ml * ASYMMETRY > twin.volume_ml:
            continue
        lift = LEFT_HIGHER_MM if name == "kidney_left" else -LEFT_HIGHER_MM
        place = _mirrored(twin, (vessels[0].middle[0] + vessels[1].middle[0]) / 2, lift)
        for other in anatomy.present(anatomy.organs):
            inside = shared(place, other.mask)
            share = inside.count / twin.voxels
            if other.name not in (name, twin_name, *_BOWEL) and share > SWALLOWED_SHARE:
                yield Sign(
                    (other.name, name),
                    Severity.ERROR,
                    f"{other.name} fills {share:.0%} of the place of {name}, which has {kidney.volume_ml:.0f} ml.",
                    {"filled_share": share, "volume_ml": kidney.volume_ml, "twin_ml": twin.volume_ml},
                    inside,
                )


def _mirrored(organ: Organ, middle: float, lift_mm: float) -> Boxed:
    """The organ's mask on the other side of the plane i = `middle`, lifted; what leaves the grid is cut off."""
    depth, _, width = organ.grid.array_shape
    first_k = organ.mask.corner[0] + round(lift_mm / organ.grid.spacing_mm[2])
    first_i = round(2 * middle) - (organ.mask.slices[2].stop - 1)
    mirrored = organ.mask.voxels[max(0, -first_k) : depth - first_k, :, ::-1][:, :, max(0, -first_i) : width - first_i]
    return Boxed((max(0, first_k), organ.mask.corner[1], max(0, first_i)), mirrored)


def _twins(anatomy: Anatomy) -> Iterator[tuple[Organ, Organ]]:
    for pair in PAIRED:
        twins = anatomy.found(f"{pair}_left", f"{pair}_right")
        if twins:
            yield twins[0], twins[1]

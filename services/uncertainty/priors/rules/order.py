"""What lies to the right, in front of and above what."""

from collections.abc import Iterator

from services.uncertainty.priors.anatomy import Anatomy, joined
from services.uncertainty.priors.findings import Severity, Sign

_RIGHT = (
    ("liver", "spleen"),
    ("liver", "stomach"),
    ("liver", "aorta"),
    ("gall_bladder", "aorta"),
    ("gall_bladder", "stomach"),
    ("kidney_right", "aorta"),
    ("kidney_right", "pancreas"),
    ("postcava", "aorta"),
    ("postcava", "kidney_left"),
    ("pancreas", "spleen"),
    ("aorta", "spleen"),
    ("duodenum", "spleen"),
    ("lung_right", "aorta"),
    ("postcava", "lung_left"),
    ("adrenal_gland_right", "aorta"),
    ("postcava", "adrenal_gland_left"),
    ("femur_right", "rectum"),
    ("rectum", "femur_left"),
)
_FRONT = (
    ("gall_bladder", "aorta"),
    ("gall_bladder", "kidney_right"),
    ("liver", "kidney_right"),
    ("pancreas", "aorta"),
    ("pancreas", "kidney_left"),
    ("stomach", "aorta"),
    ("stomach", "kidney_left"),
    ("celiac_trunk", "aorta"),
    ("bladder", "rectum"),
    ("prostate", "rectum"),
)
_ABOVE = (
    *((lung, organ) for lung in ("lung_left", "lung_right") for organ in ("kidney_left", "kidney_right", "pancreas")),
    *((lung, organ) for lung in ("lung_left", "lung_right") for organ in ("bladder", "gall_bladder", "duodenum")),
    *(
        (organ, low)
        for organ in ("liver", "spleen", "stomach", "pancreas")
        for low in ("bladder", "prostate", "rectum")
    ),
    *((f"kidney_{side}", f"femur_{side}") for side in ("left", "right")),
    *((f"adrenal_gland_{side}", f"kidney_{side}") for side in ("left", "right")),
    ("liver", "femur_left"),
    ("liver", "femur_right"),
    ("esophagus", "duodenum"),
    ("esophagus", "pancreas"),
    ("bladder", "prostate"),
)
ORDERS = {"right": (0, "R", "L", _RIGHT), "front": (1, "A", "P", _FRONT), "above": (2, "S", "I", _ABOVE)}
_WORDS = {"right": "to the right of", "front": "in front of", "above": "above"}

MARGIN_MM = 5.0


def out_of_order(anatomy: Anatomy) -> Iterator[Sign]:
    """Two organs the wrong way round, by their centres of gravity.

    Silent where the field of view cuts the first organ at the side where it should reach further, or the second at the
    opposite one: what is cut off could put the centres right.
    """
    for side, (axis, far, near, pairs) in ORDERS.items():
        for first, second in pairs:
            organs = anatomy.found(first, second)
            if not organs or far in organs[0].cut_at or near in organs[1].cut_at:
                continue
            wrong_mm = organs[1].centre_mm[axis] - organs[0].centre_mm[axis]
            # A part of an organ may have its centre where the whole has not.
            if wrong_mm > MARGIN_MM * (3 if organs[0].cut_at or organs[1].cut_at else 1):
                yield Sign(
                    (first, second),
                    Severity.ERROR,
                    f"{first} should lie {_WORDS[side]} {second}; its centre lies {wrong_mm:.0f} mm on the other side.",
                    {"wrong_by_mm": wrong_mm},
                    joined([organs[0].mask, organs[1].mask]),
                )

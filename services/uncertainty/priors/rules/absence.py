"""Organs that were looked for in vain although the field of view holds their place, and where that place is."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from services.core.boxes import EMPTY, Boxed, common
from services.core.geometry import Triple
from services.uncertainty.priors.anatomy import Anatomy, Organ
from services.uncertainty.priors.findings import Severity, Sign

FRONT_MM = 60.0


@dataclass(frozen=True)
class Place:
    """Where an organ usually lies.

    `centre` is its distance (R, A, S) from the middle between both kidneys' centres, in distances of these two from
    left to right; `half_mm` are the half axes of an ellipsoid as large as the organ usually is.
    """

    severity: Severity
    above: str
    """The organ that must be seen whole, with both kidneys, before the place is known to be in the field of view."""
    centre: Triple
    half_mm: Triple


PLACES = {
    # Centres are means of two real label maps, which differ by up to a seventh of the kidneys' distance.
    "liver": Place(Severity.ERROR, "spleen", (0.54, 0.43, 0.28), (75.0, 68.0, 64.0)),
    "pancreas": Place(Severity.WARNING, "spleen", (-0.1, 0.45, 0.1), (60.0, 22.0, 26.0)),
    "spleen": Place(Severity.WARNING, "liver", (-0.72, 0.07, 0.32), (28.0, 38.0, 42.0)),
    "stomach": Place(Severity.WARNING, "spleen", (-0.27, 0.63, 0.25), (38.0, 42.0, 46.0)),
}
"""Organs that few patients lack. Gall bladders are often removed; kidneys and vessels have rules of their own."""


def missing(anatomy: Anatomy) -> Iterator[Sign]:
    """An organ without a voxel although both kidneys and its neighbour above are seen whole; points at its place."""
    for name, place in PLACES.items():
        organ = anatomy.organs.get(name)
        around = anatomy.found("kidney_left", "kidney_right", place.above)
        if organ is None or not organ.is_empty or around is None or any(other.cut_at for other in around):
            continue
        if min(kidney.to_face_mm("A") for kidney in around[:2]) < FRONT_MM:
            continue
        neighbour = place.above.replace("_", " ")
        yield Sign(
            (name,),
            place.severity,
            f"{name} was looked for and not found, although both kidneys and the {neighbour} are seen whole. "
            "The place shown is where it usually lies.",
            {"volume_ml": 0.0},
            _usual(place, around[0], around[1], anatomy),
        )


def _usual(place: Place, left: Organ, right: Organ, anatomy: Anatomy) -> Boxed:
    """The ellipsoid of a place as far as the grid goes and no other organ lies there; EMPTY if nothing is left."""
    grid = anatomy.grid
    unit = abs(right.centre_mm[0] - left.centre_mm[0])
    ends = zip(left.centre_mm, right.centre_mm, place.centre, strict=True)
    centre_mm = np.array([(a + b) / 2 + unit * by for a, b, by in ends])
    middle = np.linalg.solve(grid.matrix[:3, :3], centre_mm - grid.matrix[:3, 3])
    half = np.array(place.half_mm) / grid.spacing_mm
    low = np.maximum(np.ceil(middle - half), 0).astype(int)
    stop = np.maximum(np.minimum(np.floor(middle + half) + 1, grid.shape).astype(int), low)
    u, v, w = ((np.arange(a, b) - c) / h for a, b, c, h in zip(low, stop, middle, half, strict=True))
    inside = w[:, None, None] ** 2 + v[:, None] ** 2 + u**2 <= 1
    region = Boxed((int(low[2]), int(low[1]), int(low[0])), inside.astype(np.uint8))
    for other in anatomy.organs.values():
        if part := common(region, other.mask):
            region.within(part)[other.mask.within(part) != 0] = 0
    return region if region.count else EMPTY

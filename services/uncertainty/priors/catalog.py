"""The priors that this service knows."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.core.errors import AtlasError, Reason
from services.uncertainty.priors.findings import Rule, Severity
from services.uncertainty.priors.rules import absence, neighbours, order, overlaps, pieces, shape, sides, sizes, vessels

VERSION = 2
"""Grows whenever the findings of the same labels may change."""


@dataclass(frozen=True)
class Prior:
    """A rule with what people must know of it: what a finding says, from when on, and where that comes from."""

    name: str
    severity: Severity
    says: str
    threshold: str
    source: str
    rule: Rule


_ATLAS = "AbdomenAtlas-8K"
_MINI = "AbdomenAtlas 1.0 Mini for the nine organs, anatomy for the others"
_ANATOMY = "anatomy"
_PRACTICE = "what goes wrong in masks"

PRIORS = (
    Prior(
        "sides_swapped",
        Severity.ERROR,
        "A left organ (kidney, adrenal gland, lung, femur) lies nearer to the liver than its right twin.",
        f"nearer by more than {sides.SWAP_MM:g} mm from left to right",
        _ATLAS,
        sides.swapped,
    ),
    Prior(
        "twins_overlap",
        Severity.ERROR,
        "A left organ and its right twin share voxels.",
        "any voxel",
        _ATLAS,
        sides.overlapping,
    ),
    Prior(
        "vessel_truncated",
        Severity.ERROR,
        "Aorta or postcava is missing on slices where the other one is, at the level of a lung (aorta only) or of "
        "pancreas, kidneys, liver or spleen; or it has a gap.",
        f"over {vessels.MISSING_SHARE:.0%} of those slices and over {vessels.MISSING_MM:g} mm; any gap",
        _ATLAS,
        vessels.truncated,
    ),
    Prior(
        "forbidden_overlap",
        Severity.ERROR,
        "Two organs that do not touch share voxels: " + ", ".join(f"{a} and {b}" for a, b in overlaps.FORBIDDEN) + ".",
        f"over {overlaps.FORBIDDEN_MM3:g} mm3, which is 10 voxels at 1.5 mm",
        _ATLAS,
        overlaps.forbidden,
    ),
    Prior(
        "same_mask",
        Severity.ERROR,
        "Two organs have nearly the same mask.",
        f"shared over {overlaps.SAME_SHARE:.0%} of what both cover together",
        _PRACTICE,
        overlaps.same,
    ),
    Prior(
        "swallowed",
        Severity.ERROR,
        "A kidney is missing or small and another organ fills its place, the mirror image of its twin.",
        f"under 1/{sides.ASYMMETRY:g} of the twin's volume, and over {sides.SWALLOWED_SHARE:.0%} of its place filled",
        _PRACTICE,
        sides.swallowed,
    ),
    Prior(
        "out_of_order",
        Severity.ERROR,
        "Two organs lie the wrong way round, by their centres: to the right, in front or above.",
        f"by more than {order.MARGIN_MM:g} mm, three times that if the field of view cuts one of them",
        _ANATOMY,
        order.out_of_order,
    ),
    Prior(
        "apart",
        Severity.WARNING,
        "Two neighbours lie far apart: "
        + ", ".join(f"{a} and {b} ({mm:g} mm)" for a, b, mm in neighbours.ADJACENT_MM)
        + ".",
        "the distance in brackets, between surfaces",
        _ANATOMY,
        neighbours.apart,
    ),
    Prior(
        "in_thorax",
        Severity.ERROR,
        "Part of an organ of the abdomen lies above liver and spleen, as a colon in the thorax.",
        f"over {neighbours.STRAY_ML:g} ml more than {neighbours.THORAX_MM:g} mm above both",
        _ANATOMY,
        neighbours.in_thorax,
    ),
    Prior(
        "lung_in_abdomen",
        Severity.ERROR,
        "Part of a lung lies below the middle of both kidneys.",
        f"over {neighbours.STRAY_ML:g} ml",
        _ANATOMY,
        neighbours.lung_in_abdomen,
    ),
    Prior(
        "prostate_astray",
        Severity.ERROR,
        "The prostate does not lie between the heads of the femurs, or no femur is in the field of view.",
        f"over {neighbours.PROSTATE_ABOVE_MM:g} mm above or {neighbours.PROSTATE_BELOW_MM:g} mm below the femurs' top",
        _ANATOMY,
        neighbours.prostate_astray,
    ),
    Prior(
        "in_pieces",
        Severity.WARNING,
        "An organ is in several pieces; a notice if they are small.",
        f"a piece of {pieces.PIECE_ML:g} ml or more; a warning from {pieces.MANY_ML:g} ml in all",
        _ANATOMY,
        pieces.in_pieces,
    ),
    Prior(
        "hollow",
        Severity.WARNING,
        "An organ has a closed hole that no other organ fills.",
        f"{pieces.HOLE_ML:g} ml",
        _ANATOMY,
        pieces.hollow,
    ),
    Prior(
        "flat_cut",
        Severity.WARNING,
        "A rounded organ is cut straight across inside the field of view: an end or lobe is missing, or slices are.",
        f"over {shape.CUT_MM2:g} mm2 and {shape.CUT_SHARE:.0%} of its largest section in one plane of the grid; more "
        "where slices are thick or the field of view cuts it elsewhere",
        _PRACTICE,
        shape.flat,
    ),
    Prior(
        "leak",
        Severity.WARNING,
        "Part of a compact organ hangs on the rest by a thin bridge.",
        f"a bridge under {shape.BRIDGE_MM:g} mm; {shape.LEAK_ML:g} ml left when half of that is taken off all round",
        _PRACTICE,
        shape.leaking,
    ),
    Prior(
        "ragged",
        Severity.NOTICE,
        "The surface of an organ is far too large for its volume.",
        "area^3 / (36 pi volume^2) over 8; "
        + ", ".join(f"{organ} {limit:g}" for organ, limit in sorted(shape.RAGGED.items())),
        _PRACTICE,
        shape.ragged,
    ),
    Prior(
        "volume_implausible",
        Severity.WARNING,
        "An organ is larger than in any patient, or smaller although the field of view does not cut it.",
        "; ".join(f"{organ} {low:g} to {high:g} ml" for organ, (low, high) in sizes.LIMITS_ML.items()),
        _MINI,
        sizes.implausible,
    ),
    Prior(
        "twins_asymmetric",
        Severity.NOTICE,
        "A kidney or adrenal gland is much larger than its twin.",
        f"over {sizes.ASYMMETRY:g} times",
        _ANATOMY,
        sizes.asymmetric,
    ),
    Prior(
        "organ_missing",
        Severity.ERROR,
        "The liver, or with a warning pancreas, spleen or stomach, was looked for and not found, although both kidneys "
        "and the spleen (of the spleen itself: the liver) are seen whole. Points at where it usually lies.",
        "no voxel",
        _ANATOMY,
        absence.missing,
    ),
)
"""In the order in which findings are told. `severity` is the highest that a rule gives."""


def find(names: Sequence[str]) -> tuple[Prior, ...]:
    """The priors of these names in the catalog's order, all if none is named. Raises FIELD_INVALID."""
    unknown = sorted(set(names) - {prior.name for prior in PRIORS})
    if unknown:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"There is no rule {', '.join(repr(name[:64]) for name in unknown[:8])}.",
            field="rules",
            remedy=f"Known: {', '.join(prior.name for prior in PRIORS)}.",
        )
    return tuple(prior for prior in PRIORS if prior.name in names or not names)

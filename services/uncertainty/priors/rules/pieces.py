"""Organs are of one piece, and solid."""

from collections.abc import Iterator

import numpy as np

from services.core.boxes import Boxed
from services.core.components import components
from services.uncertainty.priors.anatomy import ML_MM3, MOST_PIECES, Anatomy, Organ, joined, moved, shared
from services.uncertainty.priors.blocks import gap_mm
from services.uncertainty.priors.findings import Severity, Sign

PIECE_ML = 0.1
MANY_ML = 1.0
HOLE_ML = 0.1
_MAY_BE_IN_PIECES = frozenset({"colon", "hepatic_vessel", "intestine", "portal_vein_and_splenic_vein"})
_MAY_HAVE_HOLES = frozenset({"colon", "intestine", "lung_left", "lung_right"})
"""Folds of the bowel meet around mesentery; vessels of the lung are not lung."""


def in_pieces(anatomy: Anatomy) -> Iterator[Sign]:
    """An organ of several pieces; the eight largest are seen. Two that the field of view cuts may be joined."""
    for organ in anatomy.present(anatomy.organs):
        if organ.name in _MAY_BE_IN_PIECES:
            continue
        main, *others = organ.pieces
        loose = [piece for piece in others if not (main.cut_at and piece.cut_at) and piece.volume_ml >= PIECE_ML]
        if not loose:
            continue
        extra = sum(piece.volume_ml for piece in loose)
        gap = gap_mm(loose[0].blocks.outer_points_mm, main.blocks.outer_points_mm)
        yield Sign(
            (organ.name,),
            Severity.WARNING if extra >= MANY_ML else Severity.NOTICE,
            f"{organ.name} is in {_count(len(loose) + 1)} pieces; {extra:.1f} ml lie apart from the largest.",
            {"pieces": len(loose) + 1.0, "extra_ml": extra, "largest_extra_ml": loose[0].volume_ml, "gap_mm": gap},
            joined([piece.mask for piece in loose]),
        )


def hollow(anatomy: Anatomy) -> Iterator[Sign]:
    """A closed hole in an organ, unless another organ fills it, as vessels do in the liver."""
    for organ in anatomy.present(anatomy.organs):
        if organ.name in _MAY_HAVE_HOLES:
            continue
        holes = [hole for hole in _holes(organ) if not _is_filled(hole, anatomy)]
        if holes:
            volume = sum(hole.count for hole in holes) * anatomy.grid.voxel_volume_mm3 / ML_MM3
            yield Sign(
                (organ.name,),
                Severity.WARNING,
                f"{organ.name} has {_count(len(holes))} closed holes of together {volume:.1f} ml.",
                {"holes": float(len(holes)), "hole_ml": volume},
                joined(holes),
            )


def _count(number: int) -> str:
    return f"{number} or more" if number == MOST_PIECES else str(number)


def _holes(organ: Organ) -> list[Boxed]:
    """Parts of the background that the organ encloses on all sides."""
    least = max(1, int(np.ceil(HOLE_ML * ML_MM3 / organ.grid.voxel_volume_mm3)))
    outside = (organ.mask.voxels == 0).astype(np.uint8)
    shape, holes = outside.shape, []
    for part in components(outside, least_voxels=least, most=MOST_PIECES):
        if all(s.start > 0 and s.stop < n for s, n in zip(part.slices, shape, strict=True)):
            holes.append(moved(part, organ.mask.corner))
    return holes


def _is_filled(hole: Boxed, anatomy: Anatomy) -> bool:
    return any(shared(hole, organ.mask).count * 2 > hole.count for organ in anatomy.organs.values())

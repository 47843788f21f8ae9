"""Organs that lie where another one is."""

from collections.abc import Iterator
from itertools import combinations

from services.uncertainty.priors.anatomy import Anatomy, shared
from services.uncertainty.priors.findings import Severity, Sign

FORBIDDEN_MM3 = 10 * 1.5**3
"""Ten voxels of the 1.5 mm grid on which the original counted them."""

FORBIDDEN = (
    ("aorta", "liver"),
    ("aorta", "stomach"),
    ("gall_bladder", "spleen"),
    ("kidney_left", "liver"),
    ("kidney_left", "stomach"),
    ("kidney_right", "spleen"),
    ("postcava", "stomach"),
)

SAME_SHARE = 0.5


def forbidden(anatomy: Anatomy) -> Iterator[Sign]:
    """Pairs of organs that do not touch in a patient and share more than a trace."""
    for first, second in FORBIDDEN:
        organs = anatomy.found(first, second)
        if not organs:
            continue
        both = shared(organs[0].mask, organs[1].mask)
        volume = both.count * anatomy.grid.voxel_volume_mm3
        if volume > FORBIDDEN_MM3:
            yield Sign(
                (first, second),
                Severity.ERROR,
                f"{first} and {second} share {both.count} voxels ({volume:.0f} mm3); these organs do not touch.",
                {"overlap_voxels": both.count, "overlap_mm3": volume},
                both,
            )


def same(anatomy: Anatomy) -> Iterator[Sign]:
    """Two organs with the same mask: a file that was copied, or one structure under two names."""
    for first, second in combinations(anatomy.present(anatomy.organs), 2):
        smaller, larger = sorted((first.voxels, second.voxels))
        if smaller <= SAME_SHARE * larger:
            continue
        both = shared(first.mask, second.mask)
        share = both.count / (first.voxels + second.voxels - both.count)
        if share > SAME_SHARE:
            yield Sign(
                (first.name, second.name),
                Severity.ERROR,
                f"{first.name} and {second.name} are the same to {share:.0%}.",
                {"shared_share": share, "overlap_voxels": both.count},
                both,
            )

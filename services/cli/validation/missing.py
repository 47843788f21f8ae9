"""Organs that nearly all cases of a folder have a mask of, and one has not."""

from collections import Counter
from collections.abc import Iterator, Sequence

from services.cli.validation.case import Seen
from services.cli.validation.faults import Fault, Kind

USUAL = 0.9
"""Share of the cases that have an organ's mask, from which on its lack is told."""
_FEWEST = 10


def missing_organs(cases: Sequence[Seen]) -> Iterator[Fault]:
    """Masks that are probably lost. A case whose provenance says that the organ is unknown lacks nothing."""
    counts = Counter(organ for case in cases for organ in case.organs)
    if len(cases) < _FEWEST:
        return
    for case in cases:
        for organ in sorted(counts.keys() - case.organs - case.unknown):
            if counts[organ] >= USUAL * len(cases):
                yield Fault(
                    f"{case.name}/segmentations/{organ}.nii.gz",
                    Kind.ORGAN_MISSING,
                    f"{counts[organ]} of {len(cases)} cases have a mask of it, this one has not: unknown, or lost?",
                    "Add the mask; where somebody looked and the organ is absent, one without voxels.",
                    grave=False,
                )

"""Runs priors on the labels of a patient."""

from collections.abc import Iterator, Sequence

import numpy as np

from services.core.boxes import Boxed
from services.core.geometry import Geometry, Triple
from services.uncertainty.priors.anatomy import Anatomy
from services.uncertainty.priors.catalog import PRIORS, Prior
from services.uncertainty.priors.findings import Finding
from services.uncertainty.priors.measures import measure


def check(anatomy: Anatomy, priors: Sequence[Prior] = PRIORS) -> Iterator[Finding]:
    """What the priors find, prior after prior, their regions on the grid of the labels that `anatomy` was made of."""
    for prior in priors:
        for sign in prior.rule(anatomy):
            region = anatomy.posture.give_back(sign.region)
            yield Finding(
                prior.name,
                sign.organs,
                sign.severity,
                sign.message,
                sign.evidence,
                region,
                *_place(region, anatomy.posture.source),
            )


def _place(region: Boxed, geometry: Geometry) -> tuple[Triple | None, float]:
    """Middle in RAS+ mm and volume in mm^3; None and 0 of a region without voxels."""
    found = measure(region.voxels)
    if not found.voxels:
        return None, 0.0
    index = [
        (counts * np.arange(len(counts))).sum() / found.voxels + corner
        for counts, corner in zip((found.by_i, found.by_j, found.by_k), region.corner[::-1], strict=True)
    ]
    r, a, s = geometry.matrix[:3, :3] @ index + geometry.matrix[:3, 3]
    return (float(r), float(a), float(s)), found.voxels * geometry.voxel_volume_mm3

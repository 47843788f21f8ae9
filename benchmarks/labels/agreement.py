"""DSC and NSD at 1 mm of nine organs, two readers."""

import warnings
from collections.abc import Callable

import numpy as np

from benchmarks.labels.case import Case
from benchmarks.labels.measure import Contender
from services.core import metrics

Scores = list[tuple[float, ...]]


def ours(case: Case) -> Callable[[], Scores]:
    """The product's functions."""
    pairs = list(zip(case.masks(), case.masks("reader"), strict=True))
    spacing_mm = case.geometry.spacing_mm
    metrics.warm()

    def run() -> Scores:
        found = [metrics.agreement(a, b, spacing_mm, with_hd95=False) for a, b in pairs]
        return [(one.dsc, one.nsd) for one in found]

    return run


def ours_with_hd95(case: Case) -> Callable[[], Scores]:
    """The same with HD95 and volumes, as `atlas compare` has it."""
    pairs = list(zip(case.masks(), case.masks("reader"), strict=True))
    spacing_mm = case.geometry.spacing_mm
    metrics.warm()

    def run() -> Scores:
        found = [metrics.agreement(a, b, spacing_mm) for a, b in pairs]
        return [(one.dsc, one.nsd, one.hd95_mm) for one in found]

    return run


def surface_distance(case: Case) -> Callable[[], Scores]:
    """google-deepmind's surface-distance."""
    warnings.simplefilter("ignore")
    import surface_distance as theirs

    pairs = list(zip(case.masks(), case.masks("reader"), strict=True))
    spacing_mm = case.geometry.spacing_mm[::-1]

    def run() -> Scores:
        scores: Scores = []
        for a, b in pairs:
            first, second = a.view(np.bool_), b.view(np.bool_)
            found = theirs.compute_surface_distances(first, second, spacing_mm)
            nsd = theirs.compute_surface_dice_at_tolerance(found, 1.0)
            hd95 = theirs.compute_robust_hausdorff(found, 95)
            scores.append((float(theirs.compute_dice_coefficient(first, second)), float(nsd), float(hd95)))
        return scores

    return run


CONTENDERS = {
    name: Contender(contender, lambda _case, scores: {"scores": scores})
    for name, contender in (("ours", ours), ("ours_with_hd95", ours_with_hd95), ("surface_distance", surface_distance))
}

"""The candidate regions of a case whose truth is known: what weights are fitted on and reliability is shown by."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.error_detection.cases import Array, LabelCase, Mask
from benchmarks.error_detection.methods import final_label
from services.core.boxes import Boxed
from services.core.ensemble import Ensemble
from services.uncertainty import calibrated
from services.uncertainty.calibration import Family
from services.uncertainty.priors.anatomy import Anatomy
from services.uncertainty.priors.check import check

EDGES = (0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.01)
"""Of the bins of probability; there are far more regions of low ones."""


@dataclass(frozen=True)
class Sample:
    """One candidate region: whether the CT was read, its family, features (1 first), P as it ships, and the truth."""

    with_ct: bool
    family: Family
    features: Array
    probability: float
    wrong: bool


@dataclass(frozen=True)
class Spoken:
    """What a rule pointed at in one organ, and whether the label is wrong there."""

    rule: str
    wrong: bool


def samples(case: LabelCase, ensemble: Ensemble, errors: Mapping[str, Mask]) -> Iterator[Sample]:
    """The candidate regions of all organs that have `errors` (k, j, i), without the CT, and with it if there is one.

    A region is wrong if it holds a voxel of an error's region.
    """
    for ct in (None,) if case.ct is None else (None, case.ct):
        for organ, found in calibrated.candidates(ensemble, list(errors), None, ct):
            wrong_at = Boxed((0, 0, 0), errors[organ].view(np.uint8))
            wrong = {id(one.piece): one.piece.touched(wrong_at) for one in found}
            for one in found:
                values = np.array([1.0, *(one.features[name] for name in one.family.features)])
                is_wrong = bool(wrong[id(one.piece)][one.number])
                yield Sample(ct is not None, one.family, values, one.probability, is_wrong)


def spoken(ensemble: Ensemble, errors: Mapping[str, Mask]) -> Iterator[Spoken]:
    """What the anatomical rules point at, as the profile shows it: once in each organ that a finding names."""
    masks = {organ: final_label(ensemble, organ) for organ in sorted(ensemble.organs)}
    for finding in check(Anatomy.of(masks, ensemble.geometry)):
        if not finding.region.voxels.size:
            continue
        for organ in finding.organs:
            if organ in errors:
                there = errors[organ][finding.region.slices]
                yield Spoken(finding.rule, bool((there & (finding.region.voxels != 0)).any()))


@dataclass(frozen=True)
class Bin:
    """Regions of nearly one probability: the mean of what is stated, the share that is wrong, and how many."""

    stated: float
    found: float
    regions: int


def reliability(probability: Array, wrong: Array) -> list[Bin]:
    """The bins of a reliability curve that hold any region."""
    bins = []
    for low, high in itertools.pairwise(EDGES):
        inside = (probability >= low) & (probability < high)
        if inside.any():
            stated, found = float(probability[inside].mean()), float(wrong[inside].mean())
            bins.append(Bin(stated, found, int(np.count_nonzero(inside))))
    return bins

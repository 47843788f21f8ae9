"""The ensemble of one moment: what it predicts, which labels follow, and where the product's attention points."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from benchmarks.error_detection.methods import final_label
from benchmarks.experiment.cases import Patient
from benchmarks.experiment.sizes import ORGANS
from services.core import arrayfile, metrics
from services.core.ensemble import Ensemble
from services.serving.card import Card
from services.serving.prediction import predict
from services.uncertainty.profiles import find

PROFILE = "calibrated"


@dataclass(frozen=True)
class Looked:
    """What attention says of one volume: organs that ask for a look, and the facts that strategies choose by."""

    asked: tuple[str, ...]
    priority: int
    facts: Mapping[str, Any]


def predicted(networks: Sequence[nn.Module], cards: Sequence[Card], patient: Patient) -> Ensemble:
    """The probabilities of all networks for one patient."""
    files = [predict(network, patient.ct, patient.grid, card) for network, card in zip(networks, cards, strict=True)]
    return Ensemble(tuple(map(arrayfile.decode, files)))


def dsc(ensemble: Ensemble, patient: Patient) -> dict[str, float]:
    """DSC by organ of the ensemble's label; NaN where neither the label nor the truth has the organ."""
    shape = patient.grid.array_shape
    return {organ: metrics.dsc(final_label(ensemble, organ).whole(shape), patient.truth(organ)) for organ in ORGANS}


def looked(ensemble: Ensemble, patient: Patient) -> Looked:
    """The product's attention on one volume."""
    profile = find(PROFILE)
    attention = list(profile.attend(ensemble, ORGANS, patient.grid))
    scores = [one.score for one in attention if one.score.heat_sum > 0]
    voxel = patient.grid.voxel_volume_mm3
    facts = {
        **patient.facts,
        "organs": len(scores),
        "regions": sum(len(one.regions) for one in attention),
        "attention_mm3": sum(score.voxels for score in scores) * voxel,
        "expected_error_mm3": sum(score.expected_error_mm3 for score in scores),
        "organ_errors_mm3": {score.organ: score.expected_error_mm3 for score in scores},
        "organs_mm3": {organ: final_label(ensemble, organ).count * voxel for organ in ORGANS},
    }
    return Looked(tuple(score.organ for score in scores), profile.priority(scores), facts)


def mean(scores: Mapping[str, Mapping[str, float]], repaired: Mapping[str, Collection[str]]) -> float:
    """Mean DSC over volumes and organs; what was repaired is 1, and what is in neither label nor truth is left out."""
    values = [
        1.0 if organ in repaired.get(volume, ()) else value
        for volume, organs in scores.items()
        for organ, value in organs.items()
        if value == value
    ]
    return sum(values) / len(values)

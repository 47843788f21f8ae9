"""Ways to score: this service's kernels, and the plain renderings that its tests hold it against."""

import hashlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.attention.cases import WORK, Given, saturated_share
from benchmarks.labels.measure import Contender
from services.core import arrayfile
from services.core.boxes import crop
from services.core.ensemble import Ensemble
from services.uncertainty import calibration
from services.uncertainty.attention import Profile
from services.uncertainty.calibrated import CALIBRATED
from services.uncertainty.parity import PARITY
from services.uncertainty.priors.anatomy import Anatomy
from services.uncertainty.priors.check import check
from services.uncertainty.priors.findings import Finding, Severity
from services.uncertainty.profiles import PROFILES
from services.uncertainty.warm import warm
from tests.uncertainty import plain, plain_calibrated

Arrays = dict[str, Any]
Work = Callable[[], Any]
Way = Callable[[Given], Work]


def contender(way: str, work: str) -> Contender:
    """`way` is one of `WAYS`, `work` one of `WORK`."""
    prepare, facts = WAYS[way]
    return Contender(lambda case: prepare(WORK[work](case)), lambda _case, result: facts(result))


def _score(profile: Profile, with_ct: bool) -> Way:
    def prepare(given: Given) -> Work:
        warm()
        ensemble, ct = given.ensemble, given.ct if with_ct else None
        return lambda: (ensemble, list(profile.attend(ensemble, _organs(ensemble), None, ct)))

    return prepare


def _heat(result: Any) -> dict[str, Any]:
    ensemble, found = result
    digests = {}
    for one in found:
        heat = np.zeros(ensemble.geometry.array_shape, np.uint8)
        heat[one.heat.slices] = one.heat.voxels
        digests[one.score.organ] = _digest(heat)
    return {"regions": sum(len(one.regions) for one in found), "digest": digests}


def _map(profile: Profile) -> Way:
    """All of a `Score` call between fetching what goes in and storing the map; with the CT if the profile reads it."""

    def prepare(given: Given) -> Work:
        warm()
        ensemble, ct = given.ensemble, given.ct if profile.reads_ct else None
        organs = _organs(ensemble)

        def score() -> dict[str, float]:
            heat, spent = arrayfile.Writer(organs, "uint8", ensemble.geometry), 0.0
            for one in profile.attend(ensemble, organs, None, ct):
                began = time.perf_counter()
                heat.write(one.score.organ, one.heat.voxels, one.heat.corner)
                spent += time.perf_counter() - began
            began = time.perf_counter()
            size = len(heat.finish())
            return {"writing": spent + time.perf_counter() - began, "map_mb": size / 1e6}

        return score

    return prepare


def _read(given: Given) -> Work:
    ensemble = given.ensemble

    def read() -> Ensemble:
        for organ in _organs(ensemble):
            for _ in ensemble.slabs(organ):
                pass
        return ensemble

    return read


def _rules(given: Given) -> Work:
    warm()
    ensemble = given.ensemble
    i, j, k = ensemble.geometry.spacing_mm
    labels = plain_calibrated.labels_of(_arrays(ensemble), (k, j, i))
    boxes = {organ: crop(mask.astype(np.uint8)) for organ, mask in labels.items()}
    return lambda: list(check(Anatomy.of(boxes, ensemble.geometry)))


def _plain_parity(given: Given) -> Work:
    ensemble = given.ensemble
    models = _arrays(ensemble)

    def score() -> Arrays:
        masks = plain.ensemble_masks(models)
        return {organ: plain.attend(models, organ, masks).heat for organ in _organs(ensemble)}

    return score


def _plain_calibrated(given: Given, with_ct: bool) -> Work:
    ensemble, ct = given.ensemble, given.ct if with_ct else None
    models, constants = _arrays(ensemble), calibration.load()
    i, j, k = ensemble.geometry.spacing_mm
    shape = ensemble.geometry.array_shape
    fixed = plain_calibrated.Constants(
        **{name: getattr(constants, name) for name in plain_calibrated.Constants.__dataclass_fields__}
    )

    def score() -> Arrays:
        labels = plain_calibrated.labels_of(models, (k, j, i))
        crowd = plain_calibrated.crowds(models, labels, (k, j, i), fixed)
        # The rules have no plain rendering: both ways call the same.
        findings, heats = _findings(labels, ensemble), {}
        for organ in _organs(ensemble):
            pointed, shown = np.zeros(shape, bool), []
            for finding in findings:
                if organ in finding.organs and finding.region.voxels.size:
                    here = np.zeros(shape, bool)
                    here[finding.region.slices] = finding.region.voxels > 0
                    pointed |= here & (finding.severity >= Severity.WARNING)
                    shown.append((here, constants.findings.get(finding.rule, 0.0)))
            for region in plain_calibrated.regions(models, organ, labels, (k, j, i), fixed, crowd, pointed, ct):
                if region.probability >= fixed.least_probability:
                    here = np.zeros(shape, bool)
                    here[region.box] = region.voxels
                    shown.append((here, region.probability))
            heats[organ] = plain_calibrated.heat(shown, shape, (k, j, i), fixed)
        return heats

    return score


def _digests(heats: Arrays) -> dict[str, Any]:
    return {"digest": {organ: _digest(heat) for organ, heat in heats.items()}}


WAYS: dict[str, tuple[Way, Callable[[Any], dict[str, Any]]]] = {
    PARITY.name: (_score(PARITY, False), _heat),
    f"{PARITY.name}-plain": (_plain_parity, _digests),
    CALIBRATED.name: (_score(CALIBRATED, False), _heat),
    f"{CALIBRATED.name}-plain": (partial(_plain_calibrated, with_ct=False), _digests),
    f"{CALIBRATED.name}-ct": (_score(CALIBRATED, True), _heat),
    f"{CALIBRATED.name}-ct-plain": (partial(_plain_calibrated, with_ct=True), _digests),
    **{f"{name}-map": (_map(profile), lambda result: result) for name, profile in PROFILES.items()},
    "reading": (_read, lambda ensemble: {"saturated": saturated_share(ensemble)}),
    "rules": (_rules, lambda findings: {"findings": len(findings)}),
}
"""Each way: from what is given to the work, and from the work's result to facts about it."""


def _organs(ensemble: Ensemble) -> tuple[str, ...]:
    return ensemble.members[0].channels


def _arrays(ensemble: Ensemble) -> list[Arrays]:
    return [{organ: member.channel(organ) for organ in member.channels} for member in ensemble.members]


def _findings(labels: Arrays, ensemble: Ensemble) -> list[Finding]:
    boxes = {organ: crop(mask.astype(np.uint8)) for organ, mask in labels.items()}
    return list(check(Anatomy.of(boxes, ensemble.geometry)))


def _digest(heat: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(heat).data).hexdigest()[:16]

"""Fit the weights of the calibrated profile: `python -m benchmarks.error_detection.fit [--cases FOLDER]`.

Candidate regions of cases that the benchmark does not use, with planted errors and as the networks predict them; does a
region touch an error? Ridge logistic regression; reliability is shown on what was left out: each style, the folder as a
whole, each of the networks' cases. The weights go into services/uncertainty/calibration.yaml.
"""

import argparse
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from benchmarks.error_detection import networks
from benchmarks.error_detection.__main__ import planted_cases, real_cases, repeated
from benchmarks.error_detection.cases import Array, LabelCase, synthetic
from benchmarks.error_detection.ensembles import STYLES
from benchmarks.error_detection.judging import errors_of
from services.core import arrayfile
from services.core.boxes import crop
from services.uncertainty import calibration
from services.uncertainty.calibration import FEATURES
from services.uncertainty.priors.anatomy import Anatomy
from services.uncertainty.priors.check import check
from services.uncertainty.priors.findings import Severity
from tests.uncertainty import plain_calibrated as plain

FIRST_PLANTED, FIRST_REAL = 100, 3000
RIDGE = 2.0
REAL_WEIGHT = 4.0
"""How much a region of the networks' own counts beside a planted one: there are few of them."""
NETWORKS, FOLDER = "networks", "folder"


@dataclass(frozen=True)
class Sample:
    """One candidate region: what group it is left out with, its features, whether it touches a true error."""

    group: str
    features: Array
    wrong: bool


def samples(case: LabelCase, predictions: list[bytes], group: str) -> Iterator[Sample]:
    """The candidate regions of all organs of a case."""
    files = [arrayfile.decode(data) for data in predictions]
    models = [{organ: file.channel(organ) for organ in file.channels} for file in files]
    shipped = calibration.load()
    constants = plain.Constants(**{name: getattr(shipped, name) for name in plain.Constants.__dataclass_fields__})
    k, j, i = case.geometry.spacing_mm[::-1]
    labels = plain.labels_of(models)
    crowd = plain.crowds(models, labels, (k, j, i), constants)
    anatomy = Anatomy.of({organ: crop(mask.astype(np.uint8)) for organ, mask in labels.items()}, case.geometry)
    findings = list(check(anatomy))
    for organ, truth in case.truth.items():
        found = np.zeros(truth.shape, bool)
        for finding in findings:
            if organ in finding.organs and finding.severity >= Severity.WARNING and finding.region.voxels.size:
                found[finding.region.slices] |= finding.region.voxels > 0
        errors = errors_of(labels[organ], truth, case.geometry).regions > 0
        for region in plain.regions(models, organ, labels, (k, j, i), constants, crowd, found):
            values = np.array([1.0, *(region.features[name] for name in FEATURES)])
            yield Sample(group, values, bool(errors[region.box][region.voxels].any()))


def fitted(features: Array, wrong: Array, importance: Array) -> Array:
    """Weights (intercept first) of a logistic regression with a ridge on all but the intercept, features scaled."""
    scale = np.where(features.std(0) > 0, features.std(0), 1.0)
    centre = features.mean(0)
    centre[0], scale[0] = 0.0, 1.0
    scaled = (features - centre) / scale

    def loss(weights: Array) -> tuple[float, Array]:
        logit = scaled @ weights
        penalty = RIDGE * np.concatenate([[0.0], weights[1:]])
        slope = scaled.T @ (importance * (1 / (1 + np.exp(-logit)) - wrong)) + 2 * penalty
        return float((importance * (np.logaddexp(0, logit) - wrong * logit)).sum() + penalty @ weights), slope

    weights = minimize(loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B").x / scale
    weights[0] -= weights[1:] @ centre[1:]
    return np.asarray(weights)


def held_out(features: Array, wrong: Array, importance: Array, groups: Array) -> Array:
    """The probability of every sample by weights that were fitted without its group."""
    probability = np.zeros(len(wrong))
    for group in np.unique(groups):
        out = groups == group
        weights = fitted(features[~out], wrong[~out], importance[~out])
        probability[out] = 1 / (1 + np.exp(-features[out] @ weights))
    return probability


def write(path: Path, weights: Mapping[str, float]) -> None:
    """Put the weights into the calibration file and leave all else as it is."""
    block = "weights:\n" + "".join(f"  {name}: {value:.3f}\n" for name, value in weights.items())
    path.write_text(re.sub(r"weights:\n(?:  .*\n)+", block, path.read_text()))


def _show(title: str, probability: Array, wrong: Array) -> None:
    print(f"{title}: stated, found, regions")
    edges = (0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.01)
    for low, high in itertools.pairwise(edges):
        inside = (probability >= low) & (probability < high)
        if inside.any():
            print(f"  {probability[inside].mean():.2f}  {wrong[inside].mean():.2f}  {np.count_nonzero(inside)}")


def _gather(
    cases: Iterator[tuple[LabelCase, Callable[[], list[bytes]], int]], group: Callable[[int], str]
) -> Iterator[Sample]:
    for case, predict, number in cases:
        print(case.name, file=sys.stderr, flush=True)
        yield from samples(case, predict(), group(number))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.error_detection.fit", description=__doc__)
    parser.add_argument("--cases", type=Path, help="folder of label cases to bend and plant errors in as well")
    parser.add_argument("--planted", type=int, default=30, help="synthetic cases with planted errors (default 30)")
    parser.add_argument("--bent", type=int, default=18, help="of the folder's cases, bent (default 18)")
    parser.add_argument("--real", type=int, default=9, help="cases of the networks' own errors (default 9)")
    parser.add_argument("--out", type=Path, default=Path("services/uncertainty/calibration.yaml"))
    arguments = parser.parse_args()
    styles = list(STYLES)

    def style(number: int) -> str:
        return styles[number % len(styles)]

    patients = map(synthetic, itertools.count(FIRST_PLANTED))
    found = list(_gather(planted_cases(patients, arguments.planted, 3), style))
    if arguments.cases:
        found += _gather(planted_cases(repeated(arguments.cases), arguments.bent, 3), lambda number: FOLDER)
    shifted = map(networks.shifted_case, itertools.count(FIRST_REAL))
    found += _gather(real_cases(shifted, arguments.real, Path("models")), lambda number: f"{NETWORKS} {number}")
    features = np.stack([sample.features for sample in found])
    wrong = np.array([sample.wrong for sample in found], float)
    groups = np.array([sample.group for sample in found])
    real = np.char.startswith(groups, NETWORKS)
    importance = np.where(real, REAL_WEIGHT, 1.0)
    probability = held_out(features, wrong, importance, groups)
    bent = groups == FOLDER
    _show("planted, each style by the others", probability[~real & ~bent], wrong[~real & ~bent])
    _show("planted in the folder's cases, all by the others", probability[bent], wrong[bent])
    _show("networks, each case by the others", probability[real], wrong[real])
    weights = fitted(features, wrong, importance)
    write(arguments.out, dict(zip(("intercept", *FEATURES), map(float, weights), strict=True)))


if __name__ == "__main__":
    main()

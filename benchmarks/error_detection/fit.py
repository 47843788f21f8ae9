"""Fit the weights of the calibrated profile: `python -m benchmarks.error_detection.fit [--cases FOLDER]`.

Candidate regions of cases that the benchmark does not use, with planted errors and as the networks predict them; does a
region touch an error? Ridge logistic regression, one for each family of regions; reliability is shown on what was left
out: each style, each folder, each of the networks' cases. The weights go into services/uncertainty/calibration.yaml.
"""

import argparse
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from benchmarks.error_detection import networks
from benchmarks.error_detection.__main__ import planted_cases, real_cases, repeated
from benchmarks.error_detection.cases import Array, LabelCase, synthetic
from benchmarks.error_detection.ensembles import STYLES
from benchmarks.error_detection.judging import errors_of
from benchmarks.error_detection.methods import final_label, whole
from services.core import arrayfile
from services.core.ensemble import Ensemble
from services.uncertainty import calibrated
from services.uncertainty.calibration import Family

FIRST_PLANTED, FIRST_REAL = 100, 3000
RIDGE = 2.0
REAL_WEIGHT = 4.0
"""How much a region of the networks' own counts beside a planted one: there are few of them."""
NETWORKS, FOLDER = "networks", "folder"


@dataclass(frozen=True)
class Sample:
    """One candidate region: what group it is left out with, its kind and features, whether it touches a true error."""

    group: str
    family: Family
    features: Array
    wrong: bool


def samples(case: LabelCase, predictions: list[bytes], group: str) -> Iterator[Sample]:
    """The candidate regions of all organs of a case, with its CT if it has one, and without."""
    ensemble = Ensemble(tuple(arrayfile.decode(data) for data in predictions))
    errors = {
        organ: errors_of(whole(final_label(ensemble, organ), ensemble) > 0, truth, case.geometry).regions > 0
        for organ, truth in case.truth.items()
    }
    for ct in (None,) if case.ct is None else (None, case.ct):
        for organ, found in calibrated.candidates(ensemble, list(case.truth), None, ct):
            wrong = {id(one.piece): one.piece.touched(errors[organ]) for one in found}
            for one in found:
                values = np.array([1.0, *(one.features[name] for name in one.family.features)])
                yield Sample(group, one.family, values, bool(wrong[id(one.piece)][one.number]))


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


def write(path: Path, weights: Mapping[Family, Mapping[str, float]]) -> None:
    """Put the weights into the calibration file and leave all else as it is."""
    block = "weights:\n"
    for family, named in weights.items():
        block += f"  {family}:\n" + "".join(f"    {name}: {value:.3f}\n" for name, value in named.items())
    path.write_text(re.sub(r"weights:\n(?:  .*\n)+", block, path.read_text()))


def fit(found: Sequence[Sample]) -> dict[Family, dict[str, float]]:
    """The weights of every family; prints how reliable they are on what they were not fitted on."""
    weights = {}
    for family in Family:
        own = [sample for sample in found if sample.family is family]
        features = np.stack([sample.features for sample in own])
        wrong = np.array([sample.wrong for sample in own], float)
        groups = np.array([sample.group for sample in own])
        real, folder = np.char.startswith(groups, NETWORKS), np.char.startswith(groups, FOLDER)
        importance = np.where(real, REAL_WEIGHT, 1.0)
        probability = held_out(features, wrong, importance, groups)
        for title, chosen in (
            ("planted, each style by the others", ~real & ~folder),
            ("planted in the folders' cases, each folder by the others", folder),
            ("networks, each case by the others", real),
        ):
            _show(f"{family}: {title}", probability[chosen], wrong[chosen])
        fine = fitted(features, wrong, importance)
        weights[family] = dict(zip(("intercept", *family.features), map(float, fine), strict=True))
    return weights


def _show(title: str, probability: Array, wrong: Array) -> None:
    print(f"{title}: stated, found, regions")
    edges = (0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.01)
    for low, high in itertools.pairwise(edges):
        inside = (probability >= low) & (probability < high)
        if inside.any():
            print(f"  {probability[inside].mean():.2f}  {wrong[inside].mean():.2f}  {np.count_nonzero(inside)}")


def _gather(
    cases: Iterator[tuple[LabelCase, Callable[[], list[bytes]], int]], groups: Iterator[str]
) -> Iterator[Sample]:
    for (case, predict, _), group in zip(cases, groups, strict=False):
        print(case.name, file=sys.stderr, flush=True)
        yield from samples(case, predict(), group)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.error_detection.fit", description=__doc__)
    parser.add_argument(
        "--cases",
        type=Path,
        action="append",
        default=[],
        help="folder of label cases to bend and plant errors in as well",
    )
    parser.add_argument("--planted", type=int, default=30, help="synthetic cases with planted errors (default 30)")
    parser.add_argument("--bent", type=int, default=18, help="of each folder's cases, bent (default 18)")
    parser.add_argument("--real", type=int, default=9, help="cases of the networks' own errors (default 9)")
    parser.add_argument("--out", type=Path, default=Path("services/uncertainty/calibration.yaml"))
    arguments = parser.parse_args()
    patients = map(synthetic, itertools.count(FIRST_PLANTED))
    found = list(_gather(planted_cases(patients, arguments.planted, 3), itertools.cycle(STYLES)))
    for folder in arguments.cases:
        name = f"{FOLDER} {folder}"
        found += _gather(planted_cases(repeated(folder), arguments.bent, 3), itertools.repeat(name))
    shifted = map(networks.shifted_case, itertools.count(FIRST_REAL))
    found += _gather(
        real_cases(shifted, arguments.real, Path("models")), (f"{NETWORKS} {n}" for n in itertools.count())
    )
    write(arguments.out, fit(found))


if __name__ == "__main__":
    main()

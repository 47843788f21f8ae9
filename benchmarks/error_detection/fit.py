"""Fit the constants of the calibrated profile that were not chosen: `make fit-attention`.

Candidate regions of cases that the benchmark does not use, with planted errors and as the networks predict them; does a
region touch an error? Ridge logistic regression, one for each family of regions; reliability is shown on what was left
out: each style, each folder, each of the networks' cases. What anatomical rules point at is counted. Both go into
services/uncertainty/calibration.yaml.

The fit that ships took also two real label maps, which are no part of the project: --real-data names the folder with
abdomenatlas_masks9 and ts_example_3mm. Without it there are no folders' cases, and with --cases there are your own.
"""

import argparse
import itertools
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from benchmarks.error_detection import folders, networks, works
from benchmarks.error_detection.cases import Array, LabelCase, cropped, deformed, on_grid, synthetic
from benchmarks.error_detection.judging import errors_of
from benchmarks.error_detection.methods import final_label, whole
from benchmarks.error_detection.samples import Sample, Spoken, reliability, samples, spoken
from benchmarks.error_detection.trial import Refused, in_processes
from services.core import arrayfile
from services.core.ensemble import Ensemble
from services.core.errors import AtlasError
from services.core.geometry import network_grid
from services.core.resample import to_grid
from services.serving.references import real_references
from services.uncertainty import calibration
from services.uncertainty.calibration import Family

FIRST_PLANTED, FIRST_REAL = 100, 3000
PLANTED, MASKS9, EXAMPLE, REAL = 18, 14, 6, 6
"""Cases of each source in the fit that ships."""
RIDGE = 2.0
REAL_WEIGHT = 4.0
"""How much a region of the networks' own counts beside a planted one: there are few of them."""
NETWORKS, FOLDER = "networks", "folder"


@dataclass(frozen=True)
class Task:
    """A case of the fit, and the group that it is left out with."""

    work: works.Work
    group: str


@dataclass(frozen=True)
class Evidence:
    """What one case adds to the fit."""

    group: str
    samples: list[Sample]
    spoken: list[Spoken]


def gathered(task: Task) -> Evidence:
    """The candidate regions and findings of a case, and whether there are errors. Raises AtlasError."""
    case, predictions = task.work.made()
    ensemble = Ensemble(tuple(arrayfile.decode(data) for data in predictions))
    errors = {
        organ: errors_of(whole(final_label(ensemble, organ), ensemble) > 0, truth, case.geometry).regions > 0
        for organ, truth in case.truth.items()
        if organ in ensemble.organs
    }
    return Evidence(task.group, list(samples(case, ensemble, errors)), list(spoken(ensemble, errors)))


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


def weights_of(found: Sequence[Evidence]) -> dict[Family, dict[str, float]]:
    """The weights of every family of which there are samples; prints how reliable they are on what they did not see."""
    weights = {}
    for family in Family:
        own = [(one.group, sample) for one in found for sample in one.samples if sample.family is family]
        if not own:
            continue
        features = np.stack([sample.features for _, sample in own])
        wrong = np.array([sample.wrong for _, sample in own], float)
        groups = np.array([group for group, _ in own])
        real, folder = np.char.startswith(groups, NETWORKS), np.char.startswith(groups, FOLDER)
        importance = np.where(real, REAL_WEIGHT, 1.0)
        probability = held_out(features, wrong, importance, groups)
        for title, chosen in (
            ("planted, each style by the others", ~real & ~folder),
            ("planted in the folders' cases, each folder by the others", folder),
            ("networks, each case by the others", real),
        ):
            print(f"{family}: {title}: stated, found, regions")
            for one in reliability(probability[chosen], wrong[chosen]):
                print(f"  {one.stated:.2f}  {one.found:.2f}  {one.regions}")
        fine = fitted(features, wrong, importance)
        weights[family] = dict(zip(("intercept", *family.features), map(float, fine), strict=True))
    return weights


def findings_of(found: Sequence[Evidence], chosen: Mapping[str, float]) -> dict[str, float]:
    """(right + 1) / (all + 2) of the rules that have spoken; `chosen` of the others, and of those that it has at 0."""
    said: dict[str, list[bool]] = {}
    for one in itertools.chain.from_iterable(evidence.spoken for evidence in found):
        said.setdefault(one.rule, []).append(one.wrong)
    for rule in chosen:
        right, times = sum(said.get(rule, ())), len(said.get(rule, ()))
        print(f"{rule}: right {right} times of {times}{', counts as evidence only' if chosen[rule] == 0 else ''}")
    return {
        rule: (sum(said[rule]) + 1) / (len(said[rule]) + 2) if probability and rule in said else probability
        for rule, probability in chosen.items()
    }


def write(path: Path, weights: Mapping[Family, Mapping[str, float]], findings: Mapping[str, float]) -> None:
    """Put weights and probabilities of findings into the calibration file and leave all else as it is."""
    text = path.read_text()
    for family, named in weights.items():
        block = f"  {family}:\n" + "".join(f"    {name}: {value:.3f}\n" for name, value in named.items())
        text = re.sub(rf"^  {family}:\n(?:    .*\n)+", block, text, flags=re.MULTILINE)
    block = "findings:\n" + "".join(f"  {rule}: {round(value, 2)}\n" for rule, value in findings.items())
    path.write_text(re.sub(r"^findings:\n(?:  .*\n)+", block, text, flags=re.MULTILINE))


def tasks(arguments: argparse.Namespace) -> Iterator[Task]:
    """The cases of the fit. Raises AtlasError for a folder without cases."""
    for work in works.plantings(works.seeded(synthetic, FIRST_PLANTED), arguments.planted, 3):
        yield Task(work, work.style)
    sources = {str(folder): (works.repeated(folders.find(folder)), arguments.bent) for folder in arguments.cases}
    if arguments.real_data:
        masks9 = folders.find(arguments.real_data / "abdomenatlas_masks9")
        sources["masks9"] = works.repeated(masks9), MASKS9
        sources["example"] = _examples(arguments.real_data), EXAMPLE
    for name, (cases, count) in sources.items():
        yield from (Task(work, f"{FOLDER} {name}") for work in works.plantings(cases, count, 3))
    real = works.predictings(works.seeded(networks.shifted_case, FIRST_REAL), arguments.real, arguments.networks)
    yield from (Task(work, f"{NETWORKS} {work.number}") for work in real)


def _examples(folder: Path) -> Iterator[partial[LabelCase]]:
    """The labels of the first real CT that models are measured against as they are, and bent."""
    yield partial(_example, folder, None)
    for seed in itertools.count():
        yield partial(_example, folder, seed)


def _example(folder: Path, seed: int | None) -> LabelCase:
    scan = next(real_references(folder))
    grid = network_grid(scan.geometry)
    truth = {organ: on_grid(mask, scan.geometry, grid) for organ, mask in scan.masks.items()}
    case = cropped(LabelCase("example", grid, truth, to_grid(scan.ct, scan.geometry, grid)))
    return case if seed is None else deformed(case, seed)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.error_detection.fit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--real-data", type=Path, help="folder with the real label maps of the fit that ships")
    add("--cases", type=Path, action="append", default=[], help="folder of label cases of your own; may come again")
    add("--bent", type=int, default=18, help="cases out of each such folder, as they are and bent (default 18)")
    add("--planted", type=int, default=PLANTED, help=f"synthetic cases with planted errors (default {PLANTED})")
    add("--real", type=int, default=REAL, help=f"cases of the networks' own errors (default {REAL})")
    add("--networks", type=Path, default=Path("models"), help="Triton repository (default models)")
    add("--out", type=Path, default=Path("services/uncertainty/calibration.yaml"), help="file to put them into")
    arguments = parser.parse_args()
    began = time.monotonic()
    try:
        wanted = list(tasks(arguments))
    except AtlasError as error:
        sys.exit(str(error))
    found = []
    for task, evidence in zip(wanted, in_processes(gathered, wanted), strict=True):
        said = evidence.message if isinstance(evidence, Refused) else f"{len(evidence.samples)} regions"
        print(f"[{time.monotonic() - began:5.0f} s] {task.group}: {said}", file=sys.stderr, flush=True)
        if not isinstance(evidence, Refused):
            found.append(evidence)
    write(arguments.out, weights_of(found), findings_of(found, calibration.load().findings))


if __name__ == "__main__":
    main()

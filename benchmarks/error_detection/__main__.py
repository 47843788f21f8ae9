"""`make bench-detection`: how well attention finds errors, planted and real; the last line is one JSON object."""

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.error_detection import networks, table
from benchmarks.error_detection.cases import LabelCase, deformed, from_folder, synthetic
from benchmarks.error_detection.curves import areas, gain_over_random
from benchmarks.error_detection.ensembles import STYLES, predict
from benchmarks.error_detection.methods import PROFILES
from benchmarks.error_detection.planting import plant
from benchmarks.error_detection.trial import Trial, run
from services.core import arrayfile

FIRST_PLANTED, FIRST_REAL = 500, 700
Prepared = tuple[LabelCase, Callable[[], list[bytes]], int]


def planted_cases(cases: Iterator[LabelCase], count: int, models: int) -> Iterator[Prepared]:
    """Cases with 0 to 5 planted errors, the styles of ensembles in turn."""
    for number, case in enumerate(itertools.islice(cases, count)):
        yield case, partial(_planted, case, number, models), number


def _planted(case: LabelCase, number: int, models: int) -> list[bytes]:
    rng = np.random.default_rng([number, 5])
    styles = list(STYLES.values())
    k, j, i = case.geometry.spacing_mm[::-1]
    errors = plant(rng, case.truth, (k, j, i), models=models, errors=int(rng.integers(0, 6)))
    predictions = predict(rng, case, errors, styles[number % len(styles)], models)
    return [arrayfile.encode(list(one), list(one.values()), case.geometry) for one in predictions]


def repeated(folder: Path) -> Iterator[LabelCase]:
    """The cases of a folder as they are, then bent at random, again and again."""
    cases = list(from_folder(folder))
    if not cases:
        sys.exit(f"There is no <case>/segmentations/<organ>.nii.gz in {folder}.")
    yield from cases
    for seed in itertools.count():
        yield deformed(cases[seed % len(cases)], seed)


def real_cases(cases: Iterator[LabelCase], count: int, models: Path) -> Iterator[Prepared]:
    """Cases with a CT, as the project's own networks predict them."""
    nets = networks.load(models)
    for number, case in enumerate(itertools.islice(cases, count)):
        assert case.ct is not None
        yield case, partial(networks.predicted, nets, case.ct, case.geometry), number


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.error_detection", description=__doc__)
    parser.add_argument("--cases", type=Path, help="folder with <case>/segmentations/<organ>.nii.gz [and ct.nii.gz]")
    parser.add_argument("--planted", type=int, default=12, help="cases with planted errors (default 12)")
    parser.add_argument("--real", type=int, default=4, help="cases for the networks' own errors (default 4)")
    parser.add_argument("--models", type=int, default=3, help="models in the ensembles with planted errors (default 3)")
    parser.add_argument("--networks", type=Path, default=Path("models"), help="Triton repository (default models)")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    began = time.monotonic()

    def report(name: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {name}", file=sys.stderr, flush=True)

    source = repeated(arguments.cases) if arguments.cases else map(synthetic, itertools.count(FIRST_PLANTED))
    planted = run(planted_cases(source, arguments.planted, arguments.models), report)
    scanned = (c for c in from_folder(arguments.cases) if c.ct is not None) if arguments.cases else iter(())
    first = next(scanned, None)
    shifted = map(networks.shifted_case, itertools.count(FIRST_REAL))
    real = run(
        real_cases(shifted if first is None else itertools.chain([first], scanned), arguments.real, arguments.networks),
        report,
    )
    _print(planted, real)


def _print(planted: Trial, real: Trial) -> None:
    for title, trial in (("Planted errors", planted), ("The networks' own errors", real)):
        print(table.table(title, trial))
        print(table.organs(trial.tallies))
        print(table.reliability(trial.reliability), end="\n\n")
    found = {name: areas([*planted.scored, *real.scored], name) for name in PROFILES}
    print(table.curves(found), end="\n\n")
    print(table.summary(planted, real, {name: gain_over_random(area) for name, area in found.items()}))


if __name__ == "__main__":
    main()

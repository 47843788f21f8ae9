"""`make bench-detection`: how well attention finds errors, planted and real; the last line is one JSON object."""

import argparse
import itertools
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.error_detection import folders, networks, plots, table, works
from benchmarks.error_detection.cases import synthetic
from benchmarks.error_detection.curves import curves, gains
from benchmarks.error_detection.methods import PROFILES
from benchmarks.error_detection.samples import Bin, Sample, reliability
from benchmarks.error_detection.trial import Trial, run
from services.core.errors import AtlasError

FIRST_PLANTED, FIRST_REAL = 500, 700
PICTURED = 7
"""Which of the synthetic cases with planted errors the picture of attention shows."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.error_detection", description=__doc__)
    parser.add_argument("--cases", type=Path, help="one case or a folder of cases: <organ>.nii.gz [and ct.nii.gz]")
    parser.add_argument("--planted", type=int, default=24, help="cases with planted errors (default 24)")
    parser.add_argument("--real", type=int, default=8, help="cases for the networks' own errors (default 8)")
    parser.add_argument("--models", type=int, default=3, help="models in the ensembles with planted errors (default 3)")
    parser.add_argument("--networks", type=Path, default=Path("models"), help="Triton repository (default models)")
    parser.add_argument("--plot", type=Path, help="folder for curves.png, reliability.png and attention.png")
    arguments = parser.parse_args()
    began = time.monotonic()

    def progress(name: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {name}", file=sys.stderr, flush=True)

    planted_cases = works.seeded(synthetic, FIRST_PLANTED)
    real_cases = works.seeded(networks.shifted_case, FIRST_REAL)
    if arguments.cases:
        try:
            files = folders.find(arguments.cases)
        except AtlasError as error:
            sys.exit(str(error))
        for one in files:
            found = ", ".join(one.masks) or "combined_labels"
            progress(f"{one.name}: {found}; left aside: {', '.join(one.ignored) or 'nothing'}")
        planted_cases = works.repeated(files)
        if scanned := [one for one in files if one.ct]:
            real_cases = iter([partial(folders.read, one) for one in scanned])
    planted = run(works.plantings(planted_cases, arguments.planted, arguments.models), progress)
    real = run(works.predictings(real_cases, arguments.real, arguments.networks), progress)
    if not planted.scored:
        sys.exit("No case could be judged.")
    report(planted, real, arguments.plot)


def report(planted: Trial, real: Trial, plot: Path | None) -> None:
    """Print all tables and the last line; draw the pictures into the folder `plot`."""
    titled = {"planted errors": planted, "the networks' own errors": real}
    reliable: dict[str, dict[str, list[Bin]]] = {}
    for title, trial in titled.items():
        print(table.table(title.capitalize(), trial), end="\n\n")
        print(table.organs(title, trial.tallies), end="\n\n")
        print(table.thresholds(title, trial.cuts), end="\n\n")
        for with_ct, reading in ((True, "with the CT"), (False, "without a CT")):
            if bins := _reliability(trial.samples, with_ct):
                reliable.setdefault(reading, {})[title] = bins
    # The same patient may be in both.
    scored = [replace(one, name=f"{title}: {one.name}") for title, trial in titled.items() for one in trial.scored]
    found = {name: curves(scored, name) for name in PROFILES}
    print(table.reliability(reliable), end="\n\n")
    gained = {name: gains(scored, name, found[name]) for name in PROFILES}
    print(table.curves(found, gained), end="\n\n")
    if plot:
        plots.curves(plot / "curves.png", found)
        plots.reliability(plot / "reliability.png", reliable)
        # Always of a synthetic patient: what lies in a folder of cases may not be published.
        cases = works.plantings(works.seeded(synthetic, FIRST_PLANTED), PICTURED + 1, 3)
        plots.attention(plot / "attention.png", *next(itertools.islice(cases, PICTURED, None)).made())
    print(table.summary(planted, real, {name: max(by_strategy.values()) for name, by_strategy in gained.items()}))


def _reliability(samples: Iterable[Sample], with_ct: bool) -> list[Bin]:
    chosen = [sample for sample in samples if sample.with_ct is with_ct]
    return reliability(np.array([one.probability for one in chosen]), np.array([one.wrong for one in chosen], float))


if __name__ == "__main__":
    main()

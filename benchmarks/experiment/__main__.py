"""`make experiment`: what each acquisition function gains over drawing by lot; the last line is one JSON object."""

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch

from benchmarks.experiment.campaign import Campaign, State, home_case, start
from benchmarks.experiment.results import markdown, plot, summary
from benchmarks.experiment.sizes import SIZES
from services.scheduler.acquisition import ORDERS

SEEDS = 12


def campaign(size: str, folder: Path, whole: bool, seed: int) -> dict[str, list[State]]:
    """All strategies on one campaign."""
    torch.set_num_threads(1)
    one = Campaign(SIZES[size], seed, folder, whole=whole)
    return {strategy: one.run(strategy) for strategy in ORDERS}


def _render(size: str, folder: Path, number: int) -> None:
    home_case(folder, SIZES[size], number)


def _start(size: str, folder: Path, number: int) -> None:
    torch.set_num_threads(1)
    start(folder, SIZES[size], SIZES[size].cards()[number])


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiment", description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="default", help="tiny takes seconds and shows nothing")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"campaigns, each with its patients (default {SEEDS})")
    parser.add_argument("--tune", choices=("heads", "all"), default="all", help="what tuning changes (default all)")
    parser.add_argument("--work", type=Path, default=Path("build/experiment"), help="what is kept to go on later")
    parser.add_argument("--plot", type=Path, help="write the curves into this PNG or SVG file")
    parser.add_argument("--workers", type=int, default=2, help="processes, one core each (default 2)")
    arguments = parser.parse_args()
    began = time.monotonic()

    def report(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)

    size, seeds = SIZES[arguments.size], range(1, arguments.seeds + 1)
    each = partial(campaign, arguments.size, arguments.work, arguments.tune == "all")
    with ProcessPoolExecutor(arguments.workers) as pool:
        list(pool.map(partial(_render, arguments.size, arguments.work), range(size.home)))
        report("the patients of home are rendered")
        for number, _ in enumerate(pool.map(partial(_start, arguments.size, arguments.work), range(len(size.cards())))):
            report(f"network {number + 1} has learnt at home")
        found = []
        for seed, one in zip(seeds, pool.map(each, seeds), strict=True):
            found.append(one)
            report(f"campaign {seed} of {len(seeds)} is done")
    runs = {strategy: [one[strategy] for one in found] for strategy in ORDERS}
    print(markdown(runs, size.volumes))
    if arguments.plot:
        plot(runs, size.volumes, arguments.plot)
    print(json.dumps(summary(runs, size.volumes)))


if __name__ == "__main__":
    main()

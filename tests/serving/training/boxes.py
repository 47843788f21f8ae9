"""A training on boxes as a process, killed after STEP steps: `python -m tests.serving.training.boxes HOME [STEP]`."""

import os
import signal
import sys
from functools import partial
from pathlib import Path

import torch

from services.serving.card import load_version
from services.serving.networks import load_network
from services.serving.training import job
from services.serving.training.cache import CaseCache, Entry
from services.serving.training.distributed import ALONE, joined
from services.serving.training.loop import Budget
from services.serving.training.run import Run
from services.serving.training.sampling import Crop
from services.serving.training.selection import Data
from tests.serving.training.conftest import box_case

ORGANS = ("liver", "spleen", "pancreas")
EPOCHS, STEPS = 4, 3


def entries(seeds: range, organs: tuple[str, ...] = ORGANS) -> list[Entry]:
    return [Entry(f"{seed}-{len(organs)}", organs, partial(box_case, seed, organs)) for seed in seeds]


def data(organs: tuple[str, ...] = ORGANS) -> Data:
    return Data(entries(range(4), organs), entries(range(100, 102)), {"data": "boxes"})


def plan(home: Path, **changes: object) -> job.Plan:
    """Four epochs of three steps on the model in `home / "small"`."""
    given: dict[str, object] = {
        "folder": home / "small",
        "runs": home / "runs",
        "cache": CaseCache(home / "cases", 2**26),
        "budget": Budget(EPOCHS, None, STEPS, 1),
        "seed": 1,
        "rate": 1e-2,
        "organs": ORGANS,
    }
    return job.Plan(**given | changes)  # type: ignore[arg-type]


def trained(plan: job.Plan) -> job.Result:
    """Train by `plan` on the boxes."""
    result = job.train(plan, data(), ALONE)
    assert result is not None
    return result


def weights(folder: Path, number: int = 1) -> torch.Tensor:
    """All weights of a version; whoever reads them checks that they are its card's."""
    network = load_network(folder, load_version(folder, number))
    return torch.cat([value.flatten() for value in network.state_dict().values()])


def main() -> None:
    torch.set_num_threads(1)
    if len(sys.argv) > 2:
        step = Run.step

        def last(self: Run, crop: Crop, progress: float) -> float:
            if self.steps == int(sys.argv[2]):
                os.kill(os.getpid(), signal.SIGKILL)
            return step(self, crop, progress)

        Run.step = last  # type: ignore[method-assign]
    with joined() as group:
        job.train(plan(Path(sys.argv[1])), data(), group)
    # A thread of gloo that is still there when the interpreter ends aborts the process now and then.
    left = [name for task in Path("/proc/self/task").iterdir() if "gloo" in (name := (task / "comm").read_text())]
    if left:
        sys.exit(f"threads are left: {left}")


if __name__ == "__main__":
    main()

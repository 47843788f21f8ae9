"""Epoch after epoch: steps, a measure, a checkpoint, a point on the curves."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from services.serving.training import checkpoints
from services.serving.training.curves import Curves, Point
from services.serving.training.distributed import Group
from services.serving.training.run import Run
from services.serving.training.sampling import Crop, Sampler

CHECKPOINT = "checkpoint.pt"
_AHEAD = 4
Measure = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True)
class Budget:
    """How long to train: `epochs` of `steps` steps, or epochs for so many `minutes`.

    By minutes the learning rate follows the clock, so that a busy machine trains less and still ends annealed; only by
    epochs is a run the same twice.
    """

    epochs: int | None
    minutes: float | None
    steps: int
    batch: int

    def progress(self, epoch: int, step: int, seconds: float) -> float:
        """From 0 to 1; at 1 it is done."""
        if self.minutes is not None:
            return seconds / (60 * self.minutes)
        return (epoch * self.steps + step) / ((self.epochs or 1) * self.steps)


def train(run: Run, sampler: Sampler, measure: Measure, budget: Budget, folder: Path, group: Group) -> float:
    """Train `run` to the end of its budget, one step at least, from its checkpoint in `folder` if there is one.

    Returns seconds trained.

    `measure` gives DSC by organ of the running average. A run that is killed loses at most the epoch at hand. Raises
    TRAINING_FAILED and DISK_FULL; the checkpoint is as it was then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = checkpoints.load(folder / CHECKPOINT, group.device)
    epoch, seconds = 0, 0.0
    if state:
        run.take_up(state["run"])
        epoch, seconds = state["epoch"], state["seconds"]
    curves = Curves(folder, epoch) if group.leads else None
    while group.first(budget.progress(epoch, 0, seconds)) < 1:
        began = time.monotonic()
        losses = one_epoch(run, sampler, budget, group, epoch, seconds)
        seconds += time.monotonic() - began
        if not losses:
            break
        epoch += 1
        if curves:
            rate = run.optimiser.param_groups[0]["lr"]
            point = Point(epoch, run.steps, round(seconds, 1), float(np.mean(losses)), rate, dict(measure(run.average)))
            curves.add(point)
            # Last, so that no epoch of a checkpoint is missing in the curves.
            checkpoints.save(folder / CHECKPOINT, {"run": run.state(), "epoch": epoch, "seconds": seconds})
            _tell(point)
    if curves:
        curves.close()
    return seconds


def one_epoch(
    run: Run, sampler: Sampler, budget: Budget, group: Group, epoch: int = 0, seconds: float = 0.0
) -> list[float]:
    """The losses of an epoch's steps, which begins after `epoch` epochs and `seconds`, and ends with its budget."""
    torch.manual_seed(sampler.seed + epoch)
    losses: list[float] = []
    began = time.monotonic()
    for step, crop in enumerate(_crops(sampler, epoch, budget, group)):
        progress = group.first(budget.progress(epoch, step, seconds + time.monotonic() - began))
        # One step at least: without, nothing would come of a budget that ends while the first crop is drawn.
        if progress >= 1 and run.steps:
            break
        losses.append(run.step(crop, progress))
    return losses


def _crops(sampler: Sampler, epoch: int, budget: Budget, group: Group) -> Iterator[Crop]:
    """This process's batches of one epoch, drawn in a thread of their own while the last ones are learned."""
    together = budget.batch * group.size
    total = budget.steps * together
    batches = [group.mine(range(step * together, (step + 1) * together)) for step in range(budget.steps)]
    with ThreadPoolExecutor(1) as drawing:
        ahead = [drawing.submit(sampler.draw, epoch, batch, total) for batch in batches[:_AHEAD]]
        try:
            for batch in [*batches[_AHEAD:], *[None] * min(_AHEAD, len(batches))]:
                crop = ahead.pop(0).result()
                if batch is not None:
                    ahead.append(drawing.submit(sampler.draw, epoch, batch, total))
                yield crop
        finally:
            for waiting in ahead:
                waiting.cancel()


def _tell(point: Point) -> None:
    mean = "" if point.mean_dsc is None else f", DSC {point.mean_dsc:.3f}"
    organs = " ".join(f"{organ}={dsc:.3f}" for organ, dsc in point.dsc.items())
    print(
        f"epoch {point.epoch}: {point.seconds / 60:.1f} min, step {point.steps}, loss {point.loss:.3f}{mean} {organs}",
        flush=True,
    )

"""One network trained on one dataset; what comes of it is a model folder with card, weights and curves."""

import time
from collections.abc import Callable, Collection
from pathlib import Path

import torch
from torch import nn

from services.serving.benchmark.plan import Plan
from services.serving.card import Card, Weights, file_digest, load_card, save_card
from services.serving.disk import room_for
from services.serving.networks import build_network, save_weights
from services.serving.training import loop
from services.serving.training.cache import CachedCases
from services.serving.training.distributed import Group, this_device
from services.serving.training.loop import Budget
from services.serving.training.run import Run
from services.serving.training.sampling import Sampler

WEIGHTS_FILE = "1/weights.pt"
_EPOCH_STEPS = 50

Report = Callable[[float], None]
"""Is told the share that is done, 0 to 1."""


def trained(card: Card, cases: CachedCases, organs: Collection[str], folder: Path, plan: Plan, report: Report) -> Card:
    """Train `card`'s network on `organs`, from its checkpoint if it was cut off; the card of the folder that holds it.

    Raises TRAINING_FAILED or DISK_FULL.
    """
    if (folder / "model.yaml").exists():
        return load_card(folder)
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    group = Group(0, 1, this_device())
    run = Run(build_network(card), card, plan.rate, group=group)
    sampler = Sampler(cases, card, plan.seed, organs=organs)
    began = time.monotonic()

    def reported(_network: nn.Module) -> dict[str, float]:
        report(run.steps / plan.steps if plan.steps else (time.monotonic() - began) / (60 * (plan.minutes or 1)))
        return {}

    report(0.0)
    epochs = plan.steps // _EPOCH_STEPS if plan.steps else None
    budget = Budget(epochs, plan.minutes, _EPOCH_STEPS, batch=1)
    seconds = loop.train(run, sampler, reported, budget, folder, group)
    path = folder / WEIGHTS_FILE
    with room_for(folder):
        save_weights(run.average, path)
    made = card.model_copy(
        update={
            "name": folder.name,
            "weights": Weights(file=WEIGHTS_FILE, sha256=file_digest(path)),
            "trained_on": {
                "cases": len(cases),
                "organs": sorted(organs),
                "steps": run.steps,
                "minutes": round(seconds / 60, 1),
                "rate": plan.rate,
                "seed": plan.seed,
            },
            "reaches": (),
        }
    )
    with room_for(folder):
        save_card(folder, made)
    (folder / loop.CHECKPOINT).unlink(missing_ok=True)
    return load_card(folder)

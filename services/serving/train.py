"""Train a model on synthetic patients: `python -m services.serving.train models/unet --minutes 25 --seed 1`.

The learning rate follows the clock, so that a busy machine trains less and still ends annealed. A checkpoint beside the
cached cases lets the same command continue after an interruption.
"""

import argparse
import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from services.serving.cache import load_case, render_cache
from services.serving.card import Card, Weights, file_digest, load_card, save_card
from services.serving.losses import dice_and_cross_entropy
from services.serving.networks import build_network, save_weights
from services.serving.sampling import Sampler
from services.serving.sliding import logit_slabs

_WARM_UP = 0.03
_HEAD_HASTE = 10.0
"""The last layer learns this much faster: its few weights see normalised features, and the body's pace would keep the
logits of small organs below zero for a thousand steps."""
_CHECKPOINT_SECONDS = 90.0
_VALIDATION_SEEDS = range(900, 908)
WEIGHTS_FILE = "1/weights.pt"


@dataclass(frozen=True)
class Plan:
    """What to train with: minutes of training, seeds, cases to cache, peak learning rate, CPU threads."""

    folder: Path
    cache: Path
    minutes: float
    seed: int
    cases: int
    rate: float
    threads: int


class Run:
    """A network in training: its weights, their running average (which is what is kept), optimiser and clock."""

    def __init__(self, card: Card, plan: Plan) -> None:
        """Build the network and take up its checkpoint if there is one."""
        torch.manual_seed(plan.seed)
        self.network = build_network(card)
        self.average = copy.deepcopy(self.network).eval()
        *body, weight, bias = self.network.parameters()
        groups = [{"params": body, "haste": 1.0}, {"params": [weight, bias], "haste": _HEAD_HASTE}]
        self.optimiser = torch.optim.AdamW(groups, lr=plan.rate, weight_decay=1e-4)
        self._peak = plan.rate
        self.seconds = 0.0
        self.steps = 0
        self._checkpoint = plan.cache / f"{card.name}-seed{plan.seed}.checkpoint.pt"
        if self._checkpoint.exists():
            state = torch.load(self._checkpoint, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.seconds, self.steps = state["seconds"], state["steps"]

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "seconds": self.seconds,
            "steps": self.steps,
        }
        partial_file = self._checkpoint.with_suffix(".part")
        torch.save(state, partial_file)
        partial_file.replace(self._checkpoint)

    def step(self, image: torch.Tensor, truth: torch.Tensor, progress: float) -> float:
        """One step, `progress` from 0 to 1 through the plan, in bfloat16. Returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(progress, self._peak) * group["haste"]
        self.network.train()
        with torch.autocast(image.device.type, torch.bfloat16):
            logits = self.network(image)
        loss = dice_and_cross_entropy(logits.float(), truth, small_organ_boost(progress))
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.steps += 1
        self._follow(min(0.995, (1 + self.steps) / (10 + self.steps)))
        return float(loss.detach())

    @torch.no_grad()
    def _follow(self, keep: float) -> None:
        for mean, value in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - keep)
            else:
                mean.copy_(value)


def learning_rate(progress: float, peak: float) -> float:
    """Linear warm-up over the first 3 %, then a cosine to a hundredth of `peak`; `progress` runs from 0 to 1."""
    if progress < _WARM_UP:
        return peak * (0.05 + 0.95 * progress / _WARM_UP)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - _WARM_UP) / (1 - _WARM_UP)))))


def small_organ_boost(progress: float) -> float:
    """Share of a crop that small organs weigh as: a tenth at first, none in the last 30 %, to end calibrated."""
    return 0.1 * max(0.0, 1 - progress / 0.7)


@torch.inference_mode()
def validation_dsc(network: nn.Module, card: Card, paths: list[Path]) -> dict[str, float]:
    """Mean DSC by organ over cached cases that have it, on the working grid."""
    low, high = card.hu_window
    scores: dict[str, list[float]] = {organ: [] for organ in card.organs}
    for path in paths:
        ct, label = load_case(path)
        image = ((torch.from_numpy(ct).float() - low) / (high - low)).clamp_(0, 1)
        with torch.autocast("cpu", torch.bfloat16):
            masks = torch.cat([logits > 0 for _, logits in logit_slabs(network, image, card)], dim=1).numpy()
        for index, organ in enumerate(card.organs):
            truth = label == index + 1
            if truth.any():
                scores[organ].append(2 * float((masks[index] & truth).sum()) / float(masks[index].sum() + truth.sum()))
    return {organ: float(np.mean(values)) for organ, values in scores.items()}


def train(plan: Plan) -> Card:
    """Train, write the weights into the model's folder and return the card that was saved with them."""
    torch.set_num_threads(plan.threads)
    card = load_card(plan.folder)
    paths = render_cache(plan.cache, range(1000, 1000 + plan.cases), plan.threads)
    unseen = render_cache(plan.cache, _VALIDATION_SEEDS, plan.threads)
    run = Run(card, plan)
    sampler = Sampler(paths, card, np.random.default_rng([plan.seed, run.steps]))
    budget, last_save, losses = plan.minutes * 60, time.monotonic(), []
    while run.seconds < budget:
        began = time.monotonic()
        losses.append(run.step(*sampler.draw(), run.seconds / budget))
        run.seconds += time.monotonic() - began
        if time.monotonic() - last_save > _CHECKPOINT_SECONDS:
            run.save()
            scores = validation_dsc(run.average, card, unseen[:3])
            _report(card, run, losses, scores)
            losses, last_save = [], time.monotonic()
    run.save()
    scores = validation_dsc(run.average, card, unseen)
    _report(card, run, losses, scores)
    return _finish(plan, run)


def _finish(plan: Plan, run: Run) -> Card:
    path = plan.folder / WEIGHTS_FILE
    save_weights(run.average, path)
    facts = {
        "data": "synthetic patients (services.synthetic), 3 mm, nothing else",
        "patients": plan.cases,
        "seed": plan.seed,
        "rate": plan.rate,
        "steps": run.steps,
        "minutes": round(run.seconds / 60, 1),
    }
    trained = load_card(plan.folder).model_copy(
        update={"weights": Weights(file=WEIGHTS_FILE, sha256=file_digest(path)), "trained_on": facts, "reaches": ()}
    )
    save_card(plan.folder, trained)
    return trained


def _report(card: Card, run: Run, losses: list[float], scores: dict[str, float]) -> None:
    organs = " ".join(f"{organ}={score:.3f}" for organ, score in scores.items())
    loss, mean = np.mean(losses or [np.nan]), np.mean(list(scores.values()))
    print(
        f"{card.name} {run.seconds / 60:.1f} min step {run.steps} loss {loss:.3f} DSC {mean:.3f}: {organs}", flush=True
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m services.serving.train", description=train.__doc__)
    parser.add_argument("folder", type=Path, help="the model's folder, with its card")
    parser.add_argument("--cache", type=Path, default=Path("build/training"), help="rendered cases and checkpoints")
    parser.add_argument("--minutes", type=float, default=25, help="training time, rendering and validation not counted")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=400, help="synthetic patients to train on")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=1)
    train(Plan(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()

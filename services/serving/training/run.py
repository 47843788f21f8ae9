"""A network in training: its weights, their running average (which is what is kept), and one step after the other."""

import copy
import math
from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from services.core.errors import AtlasError, Reason
from services.serving.card import Card
from services.serving.training.convolutions import RightGradients
from services.serving.training.distributed import ALONE, Group
from services.serving.training.heads import Heads
from services.serving.training.losses import dice_and_cross_entropy
from services.serving.training.sampling import Crop

_WARM_UP = 0.03
_MOST_LOST, _MOST_LOST_SCALED = 3, 20
"""Steps in a row without finite gradients; a scaler that starts high takes some to come down."""
_HEAD_HASTE = 10.0
"""The last layer learns this much faster: its few weights see normalised features, and the body's pace would keep the
logits of small organs below zero for a thousand steps."""


class Run:
    """Trains `network` in place. With `heads`, only the output channels of these organs change, all others keep their
    bits."""

    def __init__(
        self, network: nn.Module, card: Card, rate: float, *, heads: Collection[str] = (), group: Group = ALONE
    ) -> None:
        self._device, self._rate, self._group = group.device, rate, group
        self.network = network.to(self._device)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self._frozen_body = bool(heads)
        last = Heads.of(self.network, card)
        if heads:
            last.free(self.network, card, heads)
            groups = [{"params": [last.weight, last.bias], "haste": 1.0}]
        else:
            *body, weight, bias = self.network.parameters()
            groups = [{"params": body, "haste": 1.0}, {"params": [weight, bias], "haste": _HEAD_HASTE}]
        self.optimiser = torch.optim.AdamW(groups, lr=rate, weight_decay=0.0 if heads else 1e-4)
        self._replica = group.replica(self.network)
        self._precision = precision(self._device)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=self._precision == torch.float16)
        self.steps = 0
        self._lost = 0

    def step(self, crop: Crop, progress: float) -> float:
        """One step, `progress` from 0 to 1 through the plan, in mixed precision. Returns the loss.

        Gradients that are not finite change nothing. Raises TRAINING_FAILED for a loss that is not finite, before it
        touches the weights, for too many steps in a row that changed nothing, and for a batch that does not fit into
        the GPU's memory.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(progress, self._rate) * group["haste"]
        self.network.train(not self._frozen_body)
        self.optimiser.zero_grad()
        try:
            image, truth, known = (tensor.to(self._device, non_blocking=True) for tensor in crop)
            with torch.autocast(self._device.type, self._precision), RightGradients():
                logits = self._replica(image)
            loss = dice_and_cross_entropy(logits.float(), truth, known, small_organ_boost(progress))
            value = self._group.mean(float(loss.detach()))
            if not math.isfinite(value):
                raise _failed(
                    f"The loss is {value} after {self.steps} steps.",
                    "Train with a lower --rate; the last checkpoint is as it was.",
                )
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        except torch.OutOfMemoryError as error:
            raise _failed(
                "A batch does not fit into the GPU's memory.", "Take a smaller --batch, or a larger GPU."
            ) from error
        self._scaler.unscale_(self.optimiser)
        # Averaged over all processes, so all of them decide alike.
        self._change(float(nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)), value)
        self.steps += 1
        self._follow(min(0.995, (1 + self.steps) / (10 + self.steps)))
        return value

    def _change(self, norm: float, loss: float) -> None:
        """Change the weights, unless the norm of the gradients is not finite: half precision overflows now and then."""
        self._lost = 0 if math.isfinite(norm) else self._lost + 1
        if self._lost > (_MOST_LOST_SCALED if self._scaler.is_enabled() else _MOST_LOST):
            raise _failed(
                f"The loss is {loss:g}, and the gradients of {self._lost} steps in a row are not finite.",
                "Train with a lower --rate; the last checkpoint is as it was.",
            )
        if math.isfinite(norm) or self._scaler.is_enabled():
            # The scaler leaves such a step out itself, and scales the next one less.
            self._scaler.step(self.optimiser)
        self._scaler.update()

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "steps": self.steps,
        }

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        self.steps = state["steps"]

    @torch.no_grad()
    def _follow(self, keep: float) -> None:
        for mean, value in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - keep)
            else:
                mean.copy_(value)


def precision(device: torch.device) -> torch.dtype:
    """What the forward pass is computed in: bfloat16, or float16 on GPUs that have no bfloat16."""
    return torch.float16 if device.type == "cuda" and not torch.cuda.is_bf16_supported() else torch.bfloat16


def learning_rate(progress: float, peak: float) -> float:
    """Linear warm-up over the first 3 %, then a cosine to a hundredth of `peak`; `progress` runs from 0 to 1."""
    if progress < _WARM_UP:
        return peak * (0.05 + 0.95 * progress / _WARM_UP)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - _WARM_UP) / (1 - _WARM_UP)))))


def small_organ_boost(progress: float) -> float:
    """Share of a crop that small organs weigh as: a tenth at first, none in the last 30 %, to end calibrated."""
    return 0.1 * max(0.0, 1 - progress / 0.7)


def _failed(message: str, remedy: str) -> AtlasError:
    return AtlasError(Reason.TRAINING_FAILED, message, field="training", remedy=remedy)

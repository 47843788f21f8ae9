"""The heads of a network: its last convolution, of which every output channel belongs to one organ."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import nn

from services.core.errors import AtlasError, Reason
from services.serving.card import Card


@dataclass(frozen=True)
class Heads:
    """Weight and bias of the last convolution; `axis` is the weight's axis of output channels."""

    weight: nn.Parameter
    bias: nn.Parameter
    axis: int

    @classmethod
    def of(cls, network: nn.Module, card: Card) -> "Heads":
        """Those of a network that `build_network` made.

        Raises TRAINING_FAILED for one that has none: its channels exclude each other, or are made some other way.
        """
        if card.is_softmax:
            raise _headless(card)
        *_, weight, bias = network.parameters()
        for layer in network.modules():
            if not isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
                continue
            if layer.weight is weight and layer.bias is bias and layer.out_channels == card.channel_count:
                # A transposed convolution keeps its output channels on the second axis.
                return cls(weight, bias, int(isinstance(layer, nn.ConvTranspose3d)))
        raise _headless(card)

    def free(self, network: nn.Module, card: Card, organs: Collection[str]) -> None:
        """Freeze everything of `network` but the channels of `organs`. The others keep their bits, under an optimiser
        without weight decay."""
        channels = [card.channels[organ][0] for organ in organs]
        network.requires_grad_(False)
        for parameter, axis in ((self.weight, self.axis), (self.bias, 0)):
            mask = torch.zeros_like(parameter)
            mask.index_fill_(axis, torch.tensor(sorted(channels), device=mask.device), 1)
            parameter.requires_grad_(True)
            parameter.register_hook(mask.mul)  # type: ignore[no-untyped-call]


def _headless(card: Card) -> AtlasError:
    return AtlasError(
        Reason.TRAINING_FAILED,
        f"{card.name} does not end with a convolution of one sigmoid channel an organ.",
        field=f"{card.name}/model.yaml",
        remedy="Such a network can be served, but not trained here.",
    )

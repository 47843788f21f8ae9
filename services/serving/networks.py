"""The four architectures, built from a card: one channel in, one sigmoid head an organ out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets.segresnet import SegResNet
from monai.networks.nets.swin_unetr import SwinUNETR
from monai.networks.nets.unet import UNet
from monai.networks.nets.unetr import UNETR
from torch import nn

from services.core.errors import AtlasError, Reason
from services.serving.card import Card, weights_path


def _swinunetr(card: Card, **arguments: Any) -> nn.Module:
    return SwinUNETR(in_channels=1, out_channels=len(card.organs), spatial_dims=3, **arguments)


def _unetr(card: Card, **arguments: Any) -> nn.Module:
    return UNETR(in_channels=1, out_channels=len(card.organs), img_size=card.window, **arguments)


def _unet(card: Card, **arguments: Any) -> nn.Module:
    return UNet(spatial_dims=3, in_channels=1, out_channels=len(card.organs), **arguments)


def _segresnet(card: Card, **arguments: Any) -> nn.Module:
    return SegResNet(spatial_dims=3, in_channels=1, out_channels=len(card.organs), **arguments)


_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "swinunetr": _swinunetr,
    "unetr": _unetr,
    "unet": _unet,
    "segresnet": _segresnet,
}


def build_network(card: Card) -> nn.Module:
    """An untrained network. Raises MODEL_CARD_INVALID if its architecture does not take the card's arguments."""
    try:
        return _BUILDERS[card.network.architecture](card, **card.network.arguments)
    except (TypeError, ValueError) as error:
        raise AtlasError(
            Reason.MODEL_CARD_INVALID,
            f"{card.network.architecture} cannot be built with the card's arguments: {error}",
            field="network.arguments",
        ) from error


def load_network(folder: Path, card: Card) -> nn.Module:
    """The trained network in evaluation mode, float32 on the CPU. Raises MODEL_CARD_INVALID."""
    network = build_network(card)
    state = torch.load(weights_path(folder, card), map_location="cpu", weights_only=True)
    try:
        network.load_state_dict(
            {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
        )
    except RuntimeError as error:
        raise AtlasError(
            Reason.MODEL_CARD_INVALID, "The weights do not fit the card's network.", field=f"{folder.name}/model.yaml"
        ) from error
    return network.eval()


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's weights in half precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()},
        path,
    )

"""The architectures, built from a card: one channel in, as many out as the card says."""

import io
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
from services.serving.adapting import Adapted, needs_adapting, own_window
from services.serving.card import Architecture, Card, weights_path
from services.serving.genesis import GenesisUNet
from services.serving.planned import plain_conv_unet, residual_encoder_unet
from services.serving.prompted import Prompted, prompted_swinunetr, prompted_unet


def _swinunetr(card: Card, **arguments: Any) -> nn.Module:
    return SwinUNETR(in_channels=1, out_channels=card.channel_count, spatial_dims=3, **arguments)


def _unetr(card: Card, **arguments: Any) -> nn.Module:
    return UNETR(in_channels=1, out_channels=card.channel_count, img_size=own_window(card), **arguments)


def _unet(card: Card, **arguments: Any) -> nn.Module:
    return UNet(spatial_dims=3, in_channels=1, out_channels=card.channel_count, **arguments)


def _segresnet(card: Card, **arguments: Any) -> nn.Module:
    return SegResNet(spatial_dims=3, in_channels=1, out_channels=card.channel_count, **arguments)


def _genesis_unet(card: Card, **arguments: Any) -> nn.Module:
    return GenesisUNet(card.channel_count, **arguments)


def _prompted_swinunetr(card: Card, **arguments: Any) -> nn.Module:
    return prompted_swinunetr(card.channel_count, _served(card), **arguments)


def _prompted_unet(card: Card, **arguments: Any) -> nn.Module:
    return prompted_unet(card.channel_count, _served(card), **arguments)


def _served(card: Card) -> list[int]:
    return [channel for channels in card.channels.values() for channel in channels]


def _plain_conv_unet(card: Card, **arguments: Any) -> nn.Module:
    return plain_conv_unet(card.channel_count, arguments)


def _residual_encoder_unet(card: Card, **arguments: Any) -> nn.Module:
    return residual_encoder_unet(card.channel_count, arguments)


_BUILDERS: dict[Architecture, Callable[..., nn.Module]] = {
    "swinunetr": _swinunetr,
    "unetr": _unetr,
    "unet": _unet,
    "segresnet": _segresnet,
    "genesis_unet": _genesis_unet,
    "prompted_swinunetr": _prompted_swinunetr,
    "prompted_unet": _prompted_unet,
    "plain_conv_unet": _plain_conv_unet,
    "residual_encoder_unet": _residual_encoder_unet,
}


def build_network(card: Card) -> nn.Module:
    """An untrained network that takes our windows, and gives one logit an organ unless the card's outputs are softmax.

    Raises MODEL_CARD_INVALID if its architecture does not take the card's arguments.
    """
    network = build_own(card)
    return Adapted(network, card, selects=not isinstance(network, Prompted)) if needs_adapting(card) else network


def build_own(card: Card) -> nn.Module:
    """The network alone, with its own axes, intensities and channels. Raises MODEL_CARD_INVALID."""
    try:
        return _BUILDERS[card.network.architecture](card, **card.network.arguments)
    except (TypeError, ValueError, AssertionError, KeyError, AttributeError, IndexError) as error:
        raise AtlasError(
            Reason.MODEL_CARD_INVALID,
            f"{card.network.architecture} cannot be built with the card's arguments: {error}",
            field="network.arguments",
            remedy="Give the card the arguments that the network was trained with.",
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
            Reason.MODEL_CARD_INVALID,
            "The weights do not fit the card's network.",
            field=f"{folder.name}/model.yaml",
            remedy="Bring back the card and the weights that belong together.",
        ) from error
    return network.eval()


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's weights in half precision."""
    data = io.BytesIO()
    torch.save(
        {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()},
        data,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by torch, which does not tell a full disk from other trouble.
    path.write_bytes(data.getbuffer())

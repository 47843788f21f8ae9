"""Heads that a description of the organ makes (CLIP-driven universal model, Liu 2023): the published SuPreM networks.

For each class three 1x1x1 convolutions, 8 -> 8 -> 8 -> 1 channels, whose weights a controller computes from the
class's text embedding and from what the window looks like as a whole. Names are those of the checkpoints.
"""

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.nets.swin_unetr import SwinUNETR
from torch import Tensor, nn

from services.serving.genesis import GenesisBody

_WIDTH = 8
_TEXT, _SEEN, _GROUPS = 512, 256, 16
_SIZES = (_WIDTH * _WIDTH, _WIDTH * _WIDTH, _WIDTH, _WIDTH, _WIDTH, 1)
"""Weights of the three layers, then their biases."""


class Prompted(nn.Module):
    """A backbone that gives (deepest, finest) features, and a head for each of `classes`; it answers for `served`."""

    def __init__(self, backbone: nn.Module, deepest: int, finest: int, classes: int, served: Sequence[int]) -> None:
        super().__init__()
        self.backbone = backbone
        self.precls_conv = nn.Sequential(nn.GroupNorm(_GROUPS, finest), nn.ReLU(), nn.Conv3d(finest, _WIDTH, 1))
        pool = nn.AdaptiveAvgPool3d((1, 1, 1))
        self.GAP = nn.Sequential(nn.GroupNorm(_GROUPS, deepest), nn.ReLU(), pool, nn.Conv3d(deepest, _SEEN, 1))
        self.controller = nn.Conv3d(2 * _SEEN, sum(_SIZES), 1)
        self.text_to_vision = nn.Linear(_TEXT, _SEEN)
        self.organ_embedding: Tensor
        self.register_buffer("organ_embedding", torch.zeros(classes, _TEXT))
        self._served = list(served)

    def forward(self, windows: Tensor) -> Tensor:
        """Logits (b, served, z, y, x)."""
        deepest, finest = self.backbone(windows)
        seen = self.GAP(deepest)
        features = self.precls_conv(finest)
        asked = torch.relu(self.text_to_vision(self.organ_embedding[self._served]))
        return torch.stack([self._heads(one, there, asked) for one, there in zip(features, seen, strict=True)])

    def _heads(self, features: Tensor, seen: Tensor, asked: Tensor) -> Tensor:
        """Logits (served, z, y, x) of one window. One class after the other: together they would fill the memory."""
        about = torch.cat((seen[None].expand(len(asked), -1, -1, -1, -1), asked[..., None, None, None]), 1)
        parameters = self.controller(about).flatten(1)
        flat = features.flatten(1)
        logits = []
        for values in parameters:
            first, second, third, *biases = values.split(_SIZES)
            hidden = torch.relu(torch.addmm(biases[0][:, None], first.view(_WIDTH, _WIDTH), flat))
            hidden = torch.relu(torch.addmm(biases[1][:, None], second.view(_WIDTH, _WIDTH), hidden))
            logits.append(torch.addmm(biases[2][:, None], third[None], hidden)[0])
        return torch.stack(logits).view(-1, *features.shape[1:])


class SwinBody(SwinUNETR):
    """Swin UNETR without its output layer: the deepest features (b, 16 f, z/32, ...) and the finest (b, f, z, y, x)."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(in_channels=1, out_channels=1, spatial_dims=3, **arguments)
        del self.out

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Deepest and finest features."""
        hidden = self.swinViT(windows, self.normalize)
        deepest = self.encoder10(hidden[4])
        features = self.decoder5(deepest, hidden[3])
        features = self.decoder4(features, self.encoder4(hidden[2]))
        features = self.decoder3(features, self.encoder3(hidden[1]))
        features = self.decoder2(features, self.encoder2(hidden[0]))
        return deepest, self.decoder1(features, self.encoder1(windows))


def prompted_unet(classes: int, served: Sequence[int], width: int = 64) -> Prompted:
    """With the U-Net of Models Genesis."""
    return Prompted(GenesisBody(width), 8 * width, width, classes, served)


def prompted_swinunetr(classes: int, served: Sequence[int], **arguments: Any) -> Prompted:
    """With Swin UNETR."""
    size = arguments["feature_size"]
    return Prompted(SwinBody(**arguments), 16 * size, size, classes, served)

"""The U-Net of Models Genesis (Zhou 2019), which SuPreM and the universal model trained: names as in their checkpoints.

Its normalisation takes the statistics of the volume in hand, in evaluation as in training; for one window that is
instance normalisation. The running statistics that checkpoints carry were never used.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn


class GenesisBody(nn.Module):
    """Four levels of `width`, 2, 4 and 8 times `width` channels (64 in what was published), without an output layer."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        half = width // 2
        self.down_tr64 = _Level(1, half, width)
        self.down_tr128 = _Level(width, width, 2 * width)
        self.down_tr256 = _Level(2 * width, 2 * width, 4 * width)
        self.down_tr512 = _Level(4 * width, 4 * width, 8 * width)
        self.up_tr256 = _Up(8 * width, 4 * width)
        self.up_tr128 = _Up(4 * width, 2 * width)
        self.up_tr64 = _Up(2 * width, width)
        self.pool = nn.MaxPool3d(2)

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """(b, 8 width, z/8, y/8, x/8) and (b, width, z, y, x)."""
        fine = self.down_tr64(windows)
        middle = self.down_tr128(self.pool(fine))
        coarse = self.down_tr256(self.pool(middle))
        deepest = self.down_tr512(self.pool(coarse))
        features = self.up_tr64(self.up_tr128(self.up_tr256(deepest, coarse), middle), fine)
        return deepest, features


class GenesisUNet(GenesisBody):
    """The U-Net with its output layer."""

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__(width)
        self.out_tr = nn.Sequential(OrderedDict(final_conv=nn.Conv3d(width, channels, 1)))

    def forward(self, windows: Tensor) -> Tensor:  # type: ignore[override] # the features became logits
        """Logits (b, channel, z, y, x)."""
        logits: Tensor = self.out_tr(super().forward(windows)[1])
        return logits


class _Level(nn.Module):
    def __init__(self, channels: int, first: int, second: int) -> None:
        super().__init__()
        self.ops = nn.Sequential(_Convolution(channels, first), _Convolution(first, second))

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.ops(features)
        return result


class _Up(nn.Module):
    def __init__(self, channels: int, skipped: int) -> None:
        super().__init__()
        self.up_conv = nn.ConvTranspose3d(channels, channels, 2, stride=2)
        self.ops = nn.Sequential(_Convolution(channels + skipped, skipped), _Convolution(skipped, skipped))

    def forward(self, features: Tensor, skipped: Tensor) -> Tensor:
        result: Tensor = self.ops(torch.cat((self.up_conv(features), skipped), 1))
        return result


class _Convolution(nn.Module):
    def __init__(self, channels: int, into: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, into, 3, padding=1)
        self.bn1 = nn.InstanceNorm3d(into, affine=True)

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.bn1(self.conv1(features)))

"""Instance normalisation as OpenVINO computes it exactly.

Its own kernel adds all of a channel's voxels up in one float32: in a window that is mostly air, where the deviation is
small, its result was 0.05 off. Here one axis is summed after the other, so that each sum is short.
"""

import copy

import torch
from torch import Tensor, nn


class _Exact(nn.Module):
    def __init__(self, norm: nn.InstanceNorm3d) -> None:
        super().__init__()
        self._eps, self._weight, self._bias = norm.eps, norm.weight, norm.bias

    def forward(self, features: Tensor) -> Tensor:
        centred = features - _mean(features)
        normal = centred * torch.rsqrt(_mean(centred * centred) + self._eps)
        if self._weight is None:
            return normal
        return normal * self._weight.reshape(-1, 1, 1, 1) + self._bias.reshape(-1, 1, 1, 1)


def _mean(features: Tensor) -> Tensor:
    """(b, channel, 1, 1, 1). Sums, because OpenVINO makes its own kernel again of means."""
    for axis in (4, 3, 2):
        features = features.sum(axis, keepdim=True) * (1 / features.shape[axis])
    return features


def with_exact_norms(network: nn.Module) -> nn.Module:
    """A copy of the network in evaluation mode, to be converted."""
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, module in parent.named_children():
            if isinstance(module, nn.InstanceNorm3d) and not module.track_running_stats:
                setattr(parent, name, _Exact(module))
    return network.eval()

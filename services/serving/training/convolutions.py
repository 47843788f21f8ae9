"""Convolutions whose gradients oneDNN gets wrong in bfloat16 on CPUs, computed in float32 instead."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class RightGradients(TorchFunctionMode):
    """Within it, a 3D convolution on a CPU over fewer slices than its kernel is deep computes in float32.

    In bfloat16, oneDNN leaves some gradients of such weights as it found the memory (seen with torch 2.13 on CPUs with
    AVX512_BF16, for 1 < slices < kernel): mostly finite, sometimes NaN, and another each time. Such layers are the
    deepest of a network, and small.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute `func`, as torch asks for every function that is called within."""
        if func is torch.conv3d and args[0].device.type == "cpu" and 1 < args[0].shape[2] < args[1].shape[2]:
            image, *rest = args
            with torch.autocast("cpu", enabled=False):
                return func(image.float(), *rest, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

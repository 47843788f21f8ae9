"""Gradients in bfloat16 follow from image and weights, not from what lies in memory."""

import pytest
import torch
from torch import Tensor, nn

from services.serving.training.convolutions import RightGradients


def spoil_memory() -> None:
    """Leave NaN where the next allocations of small and middle sizes will be."""
    spoilt = [torch.full((2**size,), torch.nan, dtype=torch.bfloat16) for size in range(8, 21) for _ in range(2)]
    del spoilt


def gradient(convolution: nn.Conv3d, image: Tensor, dtype: torch.dtype | None) -> Tensor:
    convolution.zero_grad()
    with torch.autocast("cpu", dtype, enabled=dtype is not None), RightGradients():
        answer = convolution(image)
    answer.float().square().mean().backward()
    assert convolution.weight.grad is not None
    return convolution.weight.grad.clone()


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kernel", [3, 5])
def test_weights_have_the_gradients_of_float32(depth: int, kernel: int) -> None:
    """But for rounding, again and again."""
    torch.manual_seed(depth)
    convolution = nn.Conv3d(32, 32, kernel, padding=kernel // 2)
    image = torch.randn(1, 32, depth, 6, 6)
    exact = gradient(convolution, image, None)
    found = []
    for _ in range(5):
        spoil_memory()
        found.append(gradient(convolution, image, torch.bfloat16))
    for one in found:
        torch.testing.assert_close(one, exact, rtol=0, atol=0.02 * float(exact.abs().max()))
        assert torch.equal(one, found[0])


def test_other_layers_stay_in_half_precision() -> None:
    with torch.autocast("cpu", torch.bfloat16), RightGradients():
        assert nn.Conv3d(4, 4, 3, padding=1)(torch.randn(1, 4, 2, 6, 6)).dtype == torch.float32
        assert nn.Conv3d(4, 4, 3, padding=1)(torch.randn(1, 4, 8, 6, 6)).dtype == torch.bfloat16

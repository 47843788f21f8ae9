"""The runtimes that compute a window on the CPU."""

from pathlib import Path

import pytest
import torch
from torch import nn

from services.serving.card import load_card
from services.serving.networks import load_network
from services.serving.runtime import cache_folder, on_cpu

WINDOW = torch.rand((1, 1, 16, 16, 16), generator=torch.Generator().manual_seed(0))


def logits(folder: Path, **changes: str) -> torch.Tensor:
    card = load_card(folder).model_copy(update=changes)
    with torch.inference_mode():
        return on_cpu(load_network(folder, card), card, 1)(WINDOW)


def test_openvino_answers_what_torch_answers(model_folder: Path) -> None:
    difference = logits(model_folder, cpu_runtime="openvino") - logits(model_folder, cpu_runtime="torch")
    assert difference.abs().max() < 1e-3


@pytest.mark.parametrize("is_affine", [False, True])
def test_openvino_normalises_a_window_of_little_body_as_exactly_as_torch(model_folder: Path, is_affine: bool) -> None:
    """A convolution of a large window with a body in its corner: its own kernel is wrong in the second decimal."""
    card = load_card(model_folder).model_copy(update={"window": (64, 64, 96)})
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 9, 3, padding=1, bias=False), nn.InstanceNorm3d(9, affine=is_affine)).eval()
    if is_affine:
        for parameter in network[1].parameters():
            nn.init.uniform_(parameter)
    window = torch.zeros((1, 1, *card.window))
    window[..., :20, :, 60:] = 0.5 + 0.1 * torch.rand((20, 64, 36))
    with torch.inference_mode():
        exact = network.double()(window.double())
        found = on_cpu(network.float(), card, 1)(window)
    assert (found - exact).abs().max() < 1e-3 * exact.abs().max()


def test_a_network_is_converted_once(model_folder: Path) -> None:
    first = logits(model_folder, cpu_runtime="openvino")
    kept = cache_folder()
    files = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
    assert {path.suffix for path in kept.iterdir()} == {".bin", ".xml"}
    assert torch.equal(first, logits(model_folder, cpu_runtime="openvino"))
    assert {path.name: path.stat().st_mtime_ns for path in kept.iterdir()} == files


def test_other_weights_are_another_network(
    model_folder: Path,
) -> None:
    logits(model_folder, cpu_runtime="openvino")
    card = load_card(model_folder)
    assert card.weights is not None
    network = load_network(model_folder, card)
    for parameter in network.parameters():
        parameter.data.zero_()
    other = card.model_copy(update={"weights": card.weights.model_copy(update={"sha256": "0" * 64})})
    with torch.inference_mode():
        assert not on_cpu(network, other, 1)(WINDOW).any()

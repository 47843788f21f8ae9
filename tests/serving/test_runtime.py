"""The runtimes that compute a window on the CPU."""

from pathlib import Path

import torch

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

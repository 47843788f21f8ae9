"""What runs on a GPU, on a CPU that computes the same halves: slowly, so one window at a time."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from structlog.testing import capture_logs
from torch import Tensor, nn

from services.core import metrics
from services.core.errors import AtlasError, Reason
from services.core.geometry import network_grid
from services.core.resample import to_grid
from services.serving.card import Card, load_card
from services.serving.gpu import BATCH, on_gpu
from services.serving.networks import build_network, load_network
from services.serving.prediction import probability_slabs
from services.serving.sliding import CPU, Run, logit_slabs
from services.synthetic import make_case

MODELS = Path(__file__).parents[2] / "models"
WINDOWS = torch.rand((BATCH, 1, 16, 16, 16), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def fresh_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    yield
    torch.compiler.reset()


@pytest.fixture
def network(small_card: Card) -> nn.Module:
    torch.manual_seed(3)
    return build_network(small_card).eval()


def answer(run: Run, windows: Tensor) -> Tensor:
    with torch.inference_mode():
        return run(windows)


def counting(seen: list[int]) -> Callable[..., Any]:
    """A compiler that counts what it is given, and leaves it as it is."""

    def backend(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., Any]:
        seen.append(len(graph.graph.nodes))
        return graph.forward

    return backend


def test_a_network_is_compiled_at_the_start_and_never_again(network: nn.Module, small_card: Card) -> None:
    seen: list[int] = []
    run = on_gpu(network, CPU, small_card, backend=counting(seen))
    at_start = len(seen)
    assert at_start > 0
    for windows in (WINDOWS, WINDOWS[:1], WINDOWS[:3], WINDOWS, WINDOWS[:, :, :8]):
        answer(run, windows)
    assert len(seen) == at_start


def test_a_compiled_network_answers_as_it_did(network: nn.Module, small_card: Card) -> None:
    eager = on_gpu(network, CPU, small_card.model_copy(update={"gpu_runtime": "eager"}))
    with capture_logs() as lines:
        compiled = on_gpu(network, CPU, small_card, backend="eager")
    assert [line["event"] for line in lines] == ["network is compiled"]
    assert torch.equal(answer(compiled, WINDOWS), answer(eager, WINDOWS))


def test_a_card_can_say_that_nothing_is_compiled(network: nn.Module, small_card: Card) -> None:
    seen: list[int] = []
    run = on_gpu(network, CPU, small_card.model_copy(update={"gpu_runtime": "eager"}), backend=counting(seen))
    answer(run, WINDOWS)
    assert not seen


def test_what_cannot_be_compiled_is_computed_as_it_is(network: nn.Module, small_card: Card) -> None:
    def broken(_graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., Any]:
        raise RuntimeError("no C compiler")

    with capture_logs() as lines:
        run = on_gpu(network, CPU, small_card, backend=broken)
    (line,) = lines
    assert (line["event"], line["log_level"], line["model"]) == ("network is not compiled", "warning", "small")
    assert "no C compiler" in line["error"]
    eager = on_gpu(network, CPU, small_card.model_copy(update={"gpu_runtime": "eager"}))
    assert torch.equal(answer(run, WINDOWS), answer(eager, WINDOWS))


class Loud(nn.Module):
    """A convolution whose sums exceed what a half holds, and a layer that brings them down again."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.up = nn.Conv3d(1, 9, 1, bias=False)
        nn.init.constant_(self.up.weight, gain)
        self.shift = nn.Parameter(torch.tensor(-gain / 2))

    def forward(self, windows: Tensor) -> Tensor:
        loud: Tensor = self.up(windows) + self.shift
        return loud / self.up.weight.amax() * 20


@pytest.fixture
def eager_card(small_card: Card) -> Card:
    return small_card.model_copy(update={"gpu_runtime": "eager"})


def test_windows_that_a_half_cannot_hold_are_computed_in_float32(eager_card: Card) -> None:
    network = Loud(1e6)
    with torch.inference_mode(), torch.autocast("cpu", torch.float16):
        assert not torch.isfinite(network(WINDOWS)).all(), "a test of nothing"
    assert torch.equal(answer(on_gpu(network, CPU, eager_card), WINDOWS), answer(network, WINDOWS))


def test_logits_that_are_no_numbers_are_refused(eager_card: Card) -> None:
    """They would be stored as probability 0: the organ would seem absent."""
    network = Loud(1.0)
    nn.init.constant_(network.shift, float("nan"))
    for run in (network, on_gpu(network, CPU, eager_card)):
        with pytest.raises(AtlasError) as caught, torch.inference_mode():
            list(logit_slabs(run, torch.rand(20, 20, 20), eager_card))
        assert caught.value.reason is Reason.MODEL_ANSWER_INVALID


@cache
def crop() -> NDArray[np.int16]:
    """One window's worth of an unseen patient, on the network grid."""
    case = make_case(76, profile="demo")
    ct = to_grid(case.ct, case.geometry, network_grid(case.geometry))
    return np.ascontiguousarray(ct[20:148, 20:148, 20:212])


def masks(run: Run, card: Card) -> NDArray[np.bool_]:
    return np.concatenate(list(probability_slabs(run, crop(), card)), axis=1) > 127


@pytest.mark.parametrize("name", ["segresnet", "swinunetr", "unet", "unetr"])
def test_half_precision_finds_the_same_organs(name: str) -> None:
    """Mean DSC above 0.999 between float16 and float32, over the organs that either finds; none of them stands out."""
    card = load_card(MODELS / name).model_copy(update={"gpu_runtime": "eager"})
    network = load_network(MODELS / name, card)
    pairs = zip(masks(network, card), masks(on_gpu(network, CPU, card), card), card.organs, strict=True)
    found = {organ: metrics.dsc(half, full) for full, half, organ in pairs if full.any() or half.any()}
    assert len(found) >= 5
    assert np.mean(list(found.values())) > 0.999, found
    assert min(found.values()) > 0.998, found

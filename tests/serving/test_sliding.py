"""The sliding window against MONAI's."""

from collections.abc import Iterator

import pytest
import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn

from services.serving.card import Card
from services.serving.networks import build_network
from services.serving.sliding import NOWHERE, Run, logit_slabs

SHAPES = [(40, 40, 40), (16, 16, 16), (5, 30, 17), (70, 9, 33), (1, 1, 1), (16, 47, 16)]


@pytest.fixture
def network(small_card: Card) -> nn.Module:
    torch.manual_seed(3)
    return build_network(small_card).eval()


def whole(run: Run, image: Tensor, card: Card, *, batch: int = 1) -> Tensor:
    """All slabs as one (organ, z, y, x), their places checked."""
    slabs = []
    at = 0
    with torch.inference_mode():
        for start, logits in logit_slabs(run, image, card, batch=batch):
            assert start == at
            assert logits.shape[1] <= card.window[0]
            at += logits.shape[1]
            slabs.append(logits)
    return torch.cat(slabs, dim=1)


def monai(run: Run, image: Tensor, card: Card) -> Tensor:
    with torch.inference_mode():
        logits = sliding_window_inference(
            image[None, None],
            card.window,
            1,
            run,
            overlap=card.overlap,
            mode="gaussian",
            sigma_scale=card.gaussian_sigma,
        )
    assert isinstance(logits, Tensor)
    return logits[0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.75])
def test_the_logits_are_monais(network: nn.Module, small_card: Card, shape: tuple[int, ...], overlap: float) -> None:
    card = small_card.model_copy(update={"overlap": overlap})
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(whole(network, image, card), monai(network, image, card))


def test_weights_fall_as_the_card_says(network: nn.Module, small_card: Card) -> None:
    """With MONAI's own gaussian, half as wide as ours."""
    narrow = small_card.model_copy(update={"gaussian_sigma": 0.125})
    image = torch.rand((40, 40, 40), generator=torch.Generator().manual_seed(0))
    found = whole(network, image, narrow)
    assert torch.equal(found, monai(network, image, narrow))
    assert not torch.allclose(found, whole(network, image, small_card), atol=1e-3)


def test_a_batch_of_windows_changes_no_more_than_rounding(network: nn.Module, small_card: Card) -> None:
    image = torch.rand((40, 50, 60), generator=torch.Generator().manual_seed(0))
    assert (whole(network, image, small_card, batch=4) - monai(network, image, small_card)).abs().max() < 1e-4


def test_windows_of_air_are_not_computed(network: nn.Module, small_card: Card) -> None:
    """And what lies in computed windows alone is as if all had been."""
    image = torch.zeros(96, 32, 32)
    image[:28] = torch.rand(28, 32, 32, generator=torch.Generator().manual_seed(0))
    asked: list[int] = []

    def counted(windows: Tensor) -> Tensor:
        asked.append(len(windows))
        return network(windows)  # type: ignore[no-any-return]

    found = whole(counted, image, small_card)
    expected = monai(network, image, small_card)
    assert sum(asked) == 3 * 9, "three rows of windows of the eight reach into the body"
    assert torch.equal(found[:, :24], expected[:, :24])
    assert (found[:, 48:] == NOWHERE).all()


def out_of_memory_above(limit: int, network: nn.Module, seen: list[int]) -> Run:
    def run(windows: Tensor) -> Tensor:
        seen.append(len(windows))
        if len(windows) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return network(windows)  # type: ignore[no-any-return]

    return run


def test_a_batch_that_does_not_fit_is_halved(network: nn.Module, small_card: Card) -> None:
    image = torch.rand((20, 40, 40), generator=torch.Generator().manual_seed(0))
    seen: list[int] = []
    found = whole(out_of_memory_above(1, network, seen), image, small_card, batch=4)
    assert seen[:3] == [4, 2, 1]
    assert set(seen[3:]) == {1}, "what did not fit is not tried again in the rows below"
    assert len(seen) == 2 + 2 * 9
    assert torch.equal(found, monai(network, image, small_card))


def test_one_window_that_does_not_fit_is_an_error(network: nn.Module, small_card: Card) -> None:
    image = torch.rand((20, 40, 40))
    with pytest.raises(torch.OutOfMemoryError):
        whole(out_of_memory_above(0, network, []), image, small_card, batch=2)


def test_the_first_slab_comes_before_the_last_window(network: nn.Module, small_card: Card) -> None:
    """So a scan of any length needs the logits of one row of windows at a time."""
    image = torch.rand((160, 16, 16))
    asked = 0

    def counted(windows: Tensor) -> Tensor:
        nonlocal asked
        asked += 1
        return network(windows)  # type: ignore[no-any-return]

    slabs: Iterator[tuple[int, Tensor]] = logit_slabs(counted, image, small_card)
    with torch.inference_mode():
        next(slabs)
    assert asked == 1

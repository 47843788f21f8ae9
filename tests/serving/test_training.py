"""The training command in seconds: crops, loss, and a run that is interrupted and goes on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from services.serving.cache import load_case, render_cache
from services.serving.card import Card, load_card, save_card
from services.serving.losses import dice_and_cross_entropy
from services.serving.networks import load_network
from services.serving.sampling import Sampler
from services.serving.train import Plan, learning_rate, train


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return render_cache(tmp_path_factory.mktemp("cache"), range(1000, 1002), 1)


def test_a_cache_is_rendered_once(cached: list[Path]) -> None:
    before = [path.stat().st_mtime_ns for path in cached]
    assert render_cache(cached[0].parent, range(1000, 1002), 1) == cached
    assert [path.stat().st_mtime_ns for path in cached] == before
    ct, label = load_case(cached[0])
    assert ct.dtype == np.int16
    assert label.dtype == np.uint8
    assert ct.shape == label.shape
    assert label.max() == 9


def test_crops_have_the_window_and_hold_organs(cached: list[Path], small_card: Card) -> None:
    """Windows larger than the case are filled up; two crops in three hold the organ that they were placed for."""
    card = small_card.model_copy(update={"window": (64, 128, 128)})
    sampler = Sampler(cached, card, np.random.default_rng(0))
    for _ in range(4):
        image, truth = sampler.draw()
        assert image.shape == (1, 1, 64, 128, 128)
        assert truth.shape == (1, 9, 64, 128, 128)
        assert image.min() >= 0
        assert image.max() <= 1
        assert truth.sum() > 0


def test_the_loss_prefers_the_truth() -> None:
    truth = torch.zeros(1, 2, 4, 4, 4)
    truth[:, 0, 1:3] = 1
    right, wrong = (truth * 2 - 1) * 8, (1 - truth * 2) * 8
    assert dice_and_cross_entropy(right, truth) < 0.02
    assert dice_and_cross_entropy(wrong, truth) > 5
    assert torch.isfinite(dice_and_cross_entropy(right, torch.zeros_like(truth))), "no organ in the crop"


def test_the_boost_counts_for_small_organs_only() -> None:
    """An organ of 1/64 of the crop that weighs as 1/8 counts eightfold; one that fills half of it counts as it is."""
    small, large, logits = torch.zeros(1, 1, 4, 4, 4), torch.zeros(1, 1, 4, 4, 4), torch.zeros(1, 1, 4, 4, 4)
    small[..., 0, 0, 0], large[:, :, :2] = 1, 1
    extra = dice_and_cross_entropy(logits, small, 1 / 8) - dice_and_cross_entropy(logits, small)
    assert extra.item() == pytest.approx(3 * 7 * np.log(2) / 64, rel=1e-4)
    assert dice_and_cross_entropy(logits, large, 1 / 8) == dice_and_cross_entropy(logits, large)


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(progress, 1e-3) for progress in (0, 0.015, 0.03, 0.5, 1, 1.5)]
    assert rates[0] < rates[1] < rates[2] == pytest.approx(1e-3)
    assert rates[2] > rates[3] > rates[4] == pytest.approx(1e-5)
    assert rates[5] == rates[4]


def test_a_run_can_be_interrupted(small_card: Card, tmp_path: Path) -> None:
    """The second run takes up the first one's clock and steps, and the card says what was done."""
    folder = tmp_path / "small"
    folder.mkdir()
    save_card(folder, small_card.model_copy(update={"window": (32, 32, 32)}))
    plan = {"folder": folder, "cache": tmp_path / "cache", "seed": 3, "cases": 2, "rate": 1e-3, "threads": 1}
    first = train(Plan(minutes=0.005, **plan))  # type: ignore[arg-type]
    second = train(Plan(minutes=0.01, **plan))  # type: ignore[arg-type]
    assert first.trained_on is not None
    assert second.trained_on is not None
    assert second.trained_on["steps"] > first.trained_on["steps"] > 0
    assert load_card(folder) == second
    assert load_network(folder, second) is not None

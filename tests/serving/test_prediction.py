"""From HU on the network grid to the stored probabilities."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from services.core import arrayfile
from services.core.geometry import Geometry
from services.serving.card import Card, load_card
from services.serving.networks import load_network
from services.serving.prediction import predict, probabilities, working_image


class Copies(nn.Module):
    """Nine logits that rise with the voxel's own value, so that the answer can be worked out by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(20.0))

    def forward(self, image: Tensor) -> Tensor:
        return ((image - 0.5) * self.gain).repeat(1, 9, 1, 1, 1)


def grid(shape: tuple[int, int, int]) -> Geometry:
    return Geometry.from_matrix((shape[2], shape[1], shape[0]), np.diag([1.5, 1.5, 1.5, 1.0]))


def random_ct(shape: tuple[int, int, int]) -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(-1024, 1500, shape).astype(np.int16)


def test_hounsfield_units_are_windowed_clipped_and_averaged(small_card: Card) -> None:
    ct = torch.full((2, 2, 4), -1024, dtype=torch.int16)
    ct[0, 0, 0] = 3000  # clipped to 1, one of the eight voxels of the first block
    ct[:, :, 2:] = 37  # the middle of the window
    image = working_image(ct, small_card)
    assert image.shape == (1, 1, 1, 1, 2)
    assert image[0, 0, 0, 0, 0].item() == pytest.approx(1 / 8)
    assert image[0, 0, 0, 0, 1].item() == pytest.approx((37 + 175) / 425)


def test_the_edge_fills_odd_blocks(small_card: Card) -> None:
    ct = torch.full((3, 3, 3), -1024, dtype=torch.int16)
    ct[2] = 250
    image = working_image(ct, small_card)
    assert image.shape == (1, 1, 2, 2, 2)
    assert image[0, 0, 1].eq(1).all(), "the last slice repeated, not air"


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 37), (5, 33, 34), (41, 40, 39), (80, 16, 70)])
def test_the_answer_has_the_shape_of_the_question(model_folder: Path, shape: tuple[int, int, int]) -> None:
    """Odd sizes, one slice and volumes smaller than the window included."""
    card = load_card(model_folder)
    answer = arrayfile.decode(predict(load_network(model_folder, card), random_ct(shape), grid(shape), card))
    assert answer.geometry == grid(shape)
    assert answer.channels == card.organs
    assert answer.dtype == np.uint8
    assert all(answer.channel(organ).shape == shape for organ in card.organs)


def test_probabilities_are_rounded_down(small_card: Card) -> None:
    """A uniform volume: p = sigmoid(20 (v - 1/2)) everywhere, stored as floor(255 p)."""
    hu = 60
    ct = np.full((16, 16, 16), hu, np.int16)
    probability = 1 / (1 + np.exp(-20 * ((hu + 175) / 425 - 0.5)))
    for _, stored in probabilities(Copies(), ct, small_card):
        assert set(np.unique(stored)) == {int(255 * probability)}


def test_certainty_is_255_and_does_not_wrap(small_card: Card) -> None:
    network = Copies()
    network.gain.data.fill_(1e4)
    ct = np.full((9, 9, 9), 3000, np.int16)
    assert all((stored == 255).all() for _, stored in probabilities(network, ct, small_card))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_organs_lie_where_the_image_is(small_card: Card, axis: int) -> None:
    """Averaging and upsampling shift nothing: a bright plate comes back in its place."""
    ct = np.full((32, 32, 32), -1024, np.int16)
    np.moveaxis(ct, axis, 0)[8:20] = 250
    _, stored = next(probabilities(Copies(), ct, small_card))
    assert np.array_equal(stored > 127, ct == 250)


def test_the_same_volume_gives_the_same_bytes(model_folder: Path) -> None:
    card = load_card(model_folder)
    network = load_network(model_folder, card)
    ct = random_ct((30, 50, 40))
    assert predict(network, ct, grid(ct.shape), card) == predict(network, ct, grid(ct.shape), card)  # type: ignore[arg-type]

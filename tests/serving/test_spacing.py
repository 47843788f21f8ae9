"""A network on voxels of its own edges sees the CT there, and its answer comes back to the grid."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from services.core.geometry import Geometry
from services.serving.card import Card
from services.serving.prediction import probability_slabs, working_image
from services.serving.repository import config_text
from services.serving.spacing import working_shape
from services.serving.training.case import working_case


def spaced(card: Card, *edges_mm: float) -> Card:
    return Card.model_validate(card.model_dump() | {"working_factor": 1, "working_spacing_mm": edges_mm})


def linear(values: NDArray[np.float64], shape: tuple[int, ...], factors: list[float]) -> NDArray[np.float64]:
    """What SciPy finds at the centres of voxels that are `factors` times as long; the edge goes on."""
    places = [(np.arange(n) + 0.5) * factor - 0.5 for n, factor in zip(shape, factors, strict=True)]
    return np.asarray(ndimage.map_coordinates(values, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest"))


@pytest.mark.parametrize("edges", [(2.0, 1.5, 1.5), (3.0, 0.8, 0.8), (0.75, 1.1, 4.0)])
def test_the_network_s_image_is_what_scipy_interpolates(small_card: Card, edges: tuple[float, ...]) -> None:
    card = spaced(small_card, *edges)
    ct = np.random.default_rng(0).integers(-500, 500, (70, 41, 38)).astype(np.int16)
    image = working_image(ct, card).numpy()
    factors = [edge / 1.5 for edge in edges]
    assert image.shape == tuple(int(np.ceil(n / factor)) for n, factor in zip(ct.shape, factors, strict=True))
    expected = linear(np.clip((ct + 175.0) / 425, 0, 1), image.shape, factors)
    assert np.abs(image - expected).max() < 1e-5


class Nine(nn.Module):
    """Nine logits that rise with the voxel's own value."""

    def forward(self, image: Tensor) -> Tensor:
        return ((image - 0.5) * 6).repeat(1, 9, 1, 1, 1)


@pytest.mark.parametrize("edges", [(2.0, 1.5, 1.5), (0.8, 0.8, 3.0)])
def test_the_answer_comes_back_to_the_grid(small_card: Card, edges: tuple[float, ...]) -> None:
    """Slab after slab, floor(255 p) of p interpolated back, over several slabs of 32 slices."""
    card = spaced(small_card, *edges)
    ct = np.random.default_rng(1).integers(-170, 250, (75, 33, 34)).astype(np.int16)
    found = np.concatenate(list(probability_slabs(Nine(), ct, card)), axis=1)
    assert found.shape == (9, *ct.shape)
    probability = torch.sigmoid((working_image(ct, card) - 0.5) * 6).double().numpy()
    expected = np.floor(255 * linear(probability, ct.shape, [1.5 / edge for edge in edges]))
    difference = np.abs(found[0].astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.01, "but for rounding"


def test_a_training_case_lies_on_the_network_s_voxels(small_card: Card) -> None:
    card = spaced(small_card, 3.0, 1.5, 1.5)
    grid = Geometry.from_matrix((20, 24, 30), np.diag([1.5, 1.5, 1.5, 1.0]))
    ct = np.zeros(grid.array_shape, np.int16)
    liver = np.zeros(grid.array_shape, np.bool_)
    liver[10:20, 5:15] = True
    case = working_case("one", ct, grid, {"liver": liver}, card)
    assert case.ct.shape == (15, 24, 20)
    assert np.array_equal(case.mask("liver"), liver[::2])


@pytest.mark.parametrize(
    "changes", [{"working_factor": 1}, {"working_factor": 2}, {"working_factor": 3}, {"working_spacing_mm": (3, 2, 2)}]
)
def test_training_sees_what_serving_does(small_card: Card, changes: dict[str, Any]) -> None:
    """Of sides that no block divides, over several slabs; training's whole HU round by half a unit."""
    card = Card.model_validate(small_card.model_dump() | {"working_factor": 1} | changes)
    grid = Geometry.from_matrix((23, 25, 70), np.diag([1.5, 1.5, 1.5, 1.0]))
    low, high = card.hu_window
    ct = np.random.default_rng(2).integers(round(low), round(high), grid.array_shape).astype(np.int16)
    case = working_case("one", ct, grid, {"liver": ct > 0}, card)
    image = working_image(ct, card).numpy()
    assert case.ct.shape == image.shape
    assert np.abs((case.ct - low) / (high - low) - image).max() <= 0.501 / (high - low)


def test_one_slice_is_enough(small_card: Card) -> None:
    card = spaced(small_card, 5.0, 1.5, 1.5)
    ct = np.zeros((1, 20, 20), np.int16)
    assert next(probability_slabs(Nine(), ct, card)).shape == (9, 1, 20, 20)
    assert working_shape((1, 20, 20), card.working_factors) == (1, 20, 20)


def test_the_configuration_says_so_and_a_factor_beside_it_is_refused(small_card: Card, tmp_path: Path) -> None:
    assert 'key: "working_spacing_mm" value { string_value: "2,1.5,1.5" }' in config_text(
        spaced(small_card, 2.0, 1.5, 1.5)
    )
    with pytest.raises(ValueError, match="working_factor must be 1"):
        Card.model_validate(small_card.model_dump() | {"working_factor": 2, "working_spacing_mm": (2.0, 1.5, 1.5)})

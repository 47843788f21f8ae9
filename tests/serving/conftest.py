"""A model folder in miniature: a real card, real weights, a network of two levels."""

from pathlib import Path

import pytest

from services.core import classmaps
from services.serving.card import Card, Network, Weights, file_digest, load_card, save_card
from services.serving.networks import build_network, save_weights


@pytest.fixture
def small_card() -> Card:
    return Card(
        name="small",
        label="test-1",
        summary="A U-Net of two levels.",
        intended_use="Tests. Not for clinical use.",
        network=Network(architecture="unet", arguments={"channels": [4, 8], "strides": [2]}),
        class_map="abdomenatlas-1.0",
        organs=classmaps.load("abdomenatlas-1.0").organs,
        grid_spacing_mm=1.5,
        working_factor=2,
        hu_window=(-175, 250),
        window=(16, 16, 16),
        overlap=0.25,
    )


@pytest.fixture
def model_folder(small_card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a card and (untrained) weights, and a cache of its own for what becomes of them."""
    monkeypatch.setenv("ATLAS_SERVING_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "small"
    folder.mkdir()
    save_weights(build_network(small_card), folder / "1" / "weights.pt")
    digest = file_digest(folder / "1" / "weights.pt")
    save_card(folder, small_card.model_copy(update={"weights": Weights(file="1/weights.pt", sha256=digest)}))
    assert load_card(folder).weights is not None
    return folder

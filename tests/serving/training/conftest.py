"""Cases of a few thousand voxels in which every organ is a box of its own HU, so that a tiny network can learn it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.core import modelversions
from services.serving.card import Card, save_card
from services.serving.repository import folder_config
from services.serving.training.case import Case

SIDE = 24
TINY: dict[str, dict[str, Any]] = {
    "unet": {"channels": [4, 8], "strides": [2], "num_res_units": 1},
    "segresnet": {"init_filters": 4, "blocks_down": [1, 1], "blocks_up": [1], "norm": "instance"},
    "swinunetr": {"feature_size": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]},
    "unetr": {"feature_size": 4, "hidden_size": 12, "mlp_dim": 12, "num_heads": 2},
}


def box_case(seed: int, organs: tuple[str, ...]) -> Case:
    """A case whose source looked for `organs`."""
    rng = np.random.default_rng(seed)
    ct = rng.normal(-50, 10, (SIDE,) * 3)
    masks = {}
    for number, organ in enumerate(organs):
        masks[organ] = np.zeros(ct.shape, bool)
        z, y, x = rng.integers(0, SIDE - 10, 3)
        masks[organ][z : z + 10, y : y + 10, x : x + 10] = True
        ct[masks[organ]] = 60 + 60 * number
    return Case.of(f"case-{seed}", ct.astype(np.int16), masks)


@pytest.fixture
def card(small_card: Card) -> Card:
    """Three organs, so that a step costs a few milliseconds."""
    return small_card.model_copy(update={"organs": ("liver", "spleen", "pancreas")})


@pytest.fixture
def home(card: Card, tmp_path: Path) -> Path:
    """A model of three organs without weights, in a Triton repository of its own."""
    folder = tmp_path / "small"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text("")
    save_card(folder, card)
    modelversions.write_config(folder, folder_config(folder))
    torch.set_num_threads(1)
    return tmp_path

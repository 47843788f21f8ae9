"""Cases of a few thousand voxels in which every organ is a box of its own HU, so that a tiny network can learn it."""

import numpy as np
import pytest

from services.serving.card import Card
from services.serving.training.case import Case

SIDE = 24


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

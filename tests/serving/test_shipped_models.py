"""The weights in the repository still do what their cards say."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from services.serving.card import Agreement, load_card
from services.serving.evaluate import agreement, organ_dsc
from services.serving.networks import load_network
from services.serving.references import SYNTHETIC, Reference
from services.serving.repository import CPU_THREADS
from services.serving.runtime import on_cpu
from services.synthetic import make_case

MODELS = Path(__file__).parents[2] / "models"
NAMES = ("segresnet", "swinunetr", "unet", "unetr")


@cache
def unseen() -> Reference:
    """A patient whose seed no training uses, scanned for the demo."""
    case = make_case(76, profile="demo")
    return Reference("unseen", case.ct, case.geometry, case.masks)


def synthetic_agreement(name: str) -> Agreement:
    return next(one for one in load_card(MODELS / name).reaches if one.reference == SYNTHETIC)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_does_what_its_card_says(name: str) -> None:
    """All nine organs of an unseen patient, on the CT's own grid, within 0.1 of the card's mean over patients."""
    card = load_card(MODELS / name)
    run = on_cpu(load_network(MODELS / name, card), card, CPU_THREADS)
    scores = organ_dsc(run, card, unseen())
    assert len(scores) == 9
    assert np.mean(list(scores.values())) > synthetic_agreement(name).mean_dsc - 0.1, scores


def test_three_of_four_reach_the_goal() -> None:
    assert sum(synthetic_agreement(name).mean_dsc >= 0.85 for name in NAMES) >= 3


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_was_done(name: str) -> None:
    card = load_card(MODELS / name)
    assert card.trained_on is not None
    assert "Not for clinical use" in card.intended_use
    assert card.licence == "Apache-2.0", "that of this software, which made the data"
    assert synthetic_agreement(name).cases >= 5


def test_an_agreement_leaves_out_what_a_case_does_not_have() -> None:
    result = agreement("two", [{"liver": 0.9, "spleen": 0.5}, {"liver": 0.7}])
    assert result.dsc == {"liver": 0.8, "spleen": 0.5}
    assert result.mean_dsc == pytest.approx(0.65)
    assert result.cases == 2

"""The weights in the repository still do what their cards say."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from services.serving.card import load_card
from services.serving.evaluate import agreement, organ_dsc
from services.serving.networks import load_network
from services.serving.references import SYNTHETIC, Reference
from services.serving.repository import CPU_THREADS
from services.synthetic import make_case

MODELS = Path(__file__).parents[2] / "models"
NAMES = ("segresnet", "swinunetr", "unet", "unetr")


@cache
def unseen() -> Reference:
    """A patient whose seed no training uses, scanned for the demo."""
    case = make_case(77, profile="demo")
    return Reference("unseen", case.ct, case.geometry, case.masks)


@pytest.mark.parametrize("name", NAMES)
def test_an_unseen_patient_is_segmented(name: str) -> None:
    """Left and right, all nine organs, on the CT's own grid."""
    torch.set_num_threads(CPU_THREADS)
    card = load_card(MODELS / name)
    scores = organ_dsc(load_network(MODELS / name, card), card, unseen())
    assert len(scores) == 9
    assert np.mean(list(scores.values())) > 0.8, scores
    assert min(scores.values()) > 0.5, scores


@pytest.mark.parametrize("name", NAMES)
def test_the_card_reports_what_was_measured(name: str) -> None:
    card = load_card(MODELS / name)
    assert card.trained_on is not None
    assert "Not for clinical use" in card.intended_use
    assert next(one for one in card.reaches if one.reference == SYNTHETIC).cases >= 5


def test_an_agreement_leaves_out_what_a_case_does_not_have() -> None:
    result = agreement("two", [{"liver": 0.9, "spleen": 0.5}, {"liver": 0.7}])
    assert result.dsc == {"liver": 0.8, "spleen": 0.5}
    assert result.mean_dsc == pytest.approx(0.65)
    assert result.cases == 2

"""The card in a model's configuration, and pages of models."""

import pytest

from services.core.errors import AtlasError, Reason
from services.inference import paging
from services.inference.model import Model, card

GOOD = {
    "organs": "liver, spleen",
    "class_map": "abdomenatlas-1.0",
    "grid_spacing_mm": "1.5",
    "architecture": "unet",
    "weights_sha256": "ab" * 32,
    "hu_window": "-175,250",
}


def test_a_good_card() -> None:
    """Organs keep their order; what only the model itself needs is left to it."""
    read = card(GOOD, "unet")
    assert (read.organs, read.spacing_mm, read.weights_sha256) == (("liver", "spleen"), 1.5, "ab" * 32)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("organs", ""),
        ("organs", "liver,heart"),
        ("organs", "liver,,spleen"),
        ("organs", "liver,liver"),
        ("class_map", ""),
        ("class_map", "abdomenatlas-9.9"),
        ("grid_spacing_mm", ""),
        ("grid_spacing_mm", "0"),
        ("grid_spacing_mm", "-1.5"),
        ("grid_spacing_mm", "fine"),
        ("grid_spacing_mm", "nan"),
        ("grid_spacing_mm", "inf"),
        ("weights_sha256", "0123"),
        ("weights_sha256", "AB" * 32),
        ("architecture", "  "),
    ],
)
def test_a_bad_parameter_is_named(parameter: str, value: str) -> None:
    """With the model and what is wrong."""
    with pytest.raises(AtlasError, match=f"parameter {parameter} of model unet") as caught:
        card({**GOOD, parameter: value}, "unet")
    assert caught.value.reason is Reason.MODEL_CARD_INVALID


def test_pages_cover_the_models_once() -> None:
    """Also if a model on the page before has gone."""
    models = [Model(name, "1") for name in "abcde"]
    seen, token = [], ""
    while True:
        page, token = paging.cut(models, *paging.parse(2, token))
        seen += [model.model for model in page]
        if not token:
            break
    assert seen == list("abcde")
    assert [m.model for m in paging.cut([*models[:1], *models[2:]], 2, models[1].name)[0]] == ["c", "d"]


@pytest.mark.parametrize(("size", "token", "reason"), [(-1, "", "FIELD"), (1001, "", "FIELD"), (0, "x", "PAGE_TOKEN")])
def test_pages_that_nobody_can_ask_for(size: int, token: str, reason: str) -> None:
    """Sizes out of range, and tokens from elsewhere."""
    with pytest.raises(AtlasError) as caught:
        paging.parse(size, token)
    assert caught.value.reason is Reason(f"{reason}_INVALID")

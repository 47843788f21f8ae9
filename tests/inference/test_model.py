"""The card in a model's configuration."""

import pytest

from services.core.errors import AtlasError, Reason
from services.inference.model import card

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


def test_the_digest_follows_from_every_parameter() -> None:
    """The same weights under another window are another model."""
    assert card(GOOD, "unet").digest == card(dict(reversed(GOOD.items())), "unet").digest
    assert card(GOOD, "unet").digest != card({**GOOD, "hu_window": "-150,250"}, "unet").digest


def test_what_was_measured_is_told_and_changes_no_answer() -> None:
    measured = card({**GOOD, "dsc": "liver=0.96,spleen=0.5"}, "unet")
    assert measured.dsc == {"liver": 0.96, "spleen": 0.5}
    assert measured.digest == card(GOOD, "unet").digest


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
        ("dsc", "liver=good"),
        ("dsc", "liver=1.1"),
        ("dsc", "liver"),
    ],
)
def test_a_bad_parameter_is_named(parameter: str, value: str) -> None:
    """With the model and what is wrong."""
    with pytest.raises(AtlasError, match=f"parameter {parameter} of model unet") as caught:
        card({**GOOD, parameter: value}, "unet")
    assert caught.value.reason is Reason.MODEL_CARD_INVALID

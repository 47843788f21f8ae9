"""Cards without weights: the benchmark's networks at paper size, and published ones that can be imported."""

from functools import cache
from importlib.resources import files

import yaml

from services.core.errors import AtlasError, Reason
from services.serving.card import Card

_LABEL = "1"
"""What a network is called once it is trained; "untrained" would no longer be true."""


def names() -> list[str]:
    """Names of the cards, sorted."""
    return sorted(
        file.name.removesuffix(".yaml") for file in files(__package__).iterdir() if file.name.endswith(".yaml")
    )


@cache
def load(name: str) -> Card:
    """The card of that name. Raises MODEL_NOT_FOUND."""
    if name not in names():
        raise AtlasError(
            Reason.MODEL_NOT_FOUND,
            f"The zoo has no card {name[:64]!r}.",
            field="model",
            remedy=f"It has: {', '.join(names())}.",
        )
    return Card.model_validate(yaml.safe_load((files(__package__) / f"{name}.yaml").read_text()))


def to_train(name: str) -> Card:
    """The card of that name for a network that is trained here.

    Raises MODEL_NOT_FOUND, and MODEL_CARD_INVALID where it is that of published weights.
    """
    card = load(name)
    if card.trained_on is not None:
        raise AtlasError(
            Reason.MODEL_CARD_INVALID,
            f"{name} is the card of published weights, not of a network to train.",
            field=name,
            remedy="Fetch the weights and `atlas models import` them.",
        )
    return card.model_copy(update={"label": _LABEL})

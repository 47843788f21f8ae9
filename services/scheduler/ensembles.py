"""Which models may answer together: pure rules on what their cards say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.core.errors import AtlasError, Reason


@dataclass(frozen=True)
class Card:
    """What a campaign must know of a model. `name` is "models/{model}/versions/{version}"."""

    name: str
    organs: tuple[str, ...]
    class_map: str
    spacing_mm: float
    dsc: Mapping[str, float] = field(default_factory=dict)
    """Measured, by organ."""


@dataclass(frozen=True)
class Ensemble:
    """The models of a campaign and what they agree on."""

    models: tuple[str, ...]
    organs: tuple[str, ...]
    """Every organ that one of them knows, in the order in which they name them."""
    spacing_mm: float
    class_map: str
    cards: tuple[Card, ...] = ()


def agree(cards: Sequence[Card]) -> Ensemble:
    """The ensemble of one or more models. Raises CLASS_MAP_MISMATCH or GRID_MISMATCH, naming the first two at odds."""
    first = cards[0]
    for card in cards:
        if card.class_map != first.class_map:
            what = f"{first.name} speaks of {first.class_map}, {card.name} of {card.class_map}."
            raise _mismatch(Reason.CLASS_MAP_MISMATCH, what, "Name only models of one class map.")
        if card.spacing_mm != first.spacing_mm:
            what = f"{first.name} answers at {first.spacing_mm} mm, {card.name} at {card.spacing_mm} mm."
            raise _mismatch(Reason.GRID_MISMATCH, what, "Name only models of one grid.")
    organs = dict.fromkeys(organ for card in cards for organ in card.organs)
    return Ensemble(tuple(card.name for card in cards), tuple(organs), first.spacing_mm, first.class_map, tuple(cards))


def require_same(ensemble: Ensemble, class_map: str, spacing_mm: float) -> None:
    """Raise CLASS_MAP_MISMATCH or GRID_MISMATCH unless a campaign of this class map and grid may go on with it."""
    if ensemble.class_map != class_map:
        what = f"The campaign speaks of {class_map}, {ensemble.models[0]} of {ensemble.class_map}."
        raise _mismatch(Reason.CLASS_MAP_MISMATCH, what, "Name models of the campaign's class map.")
    if ensemble.spacing_mm != spacing_mm:
        what = f"The campaign's grid is {spacing_mm} mm, that of {ensemble.models[0]} {ensemble.spacing_mm} mm."
        raise _mismatch(Reason.GRID_MISMATCH, what, "Name models of the campaign's grid.")


def _mismatch(reason: Reason, message: str, remedy: str) -> AtlasError:
    return AtlasError(reason, message, field="models", remedy=remedy)

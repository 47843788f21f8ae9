"""What a benchmark is told to do."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.core.errors import AtlasError, Reason
from services.serving import zoo
from services.serving.card import CARD_FILE, Card, Triple, load_card

Side = Literal["a", "b"]
SIDES: tuple[Side, Side] = ("a", "b")
_TRAINED = ("swinunetr", "unetr", "unet", "segresnet")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CaseFiles(_Strict):
    """One CT with its source's labels: a mask an organ, or a label map with the class map's ids.

    An organ without a mask, or that does not occur in the label map, is unknown.
    """

    name: str
    ct: Path
    masks: dict[str, Path] = {}
    label_map: Path | None = None


class Dataset(_Strict):
    """Cases on disk, or `count` synthetic patients of `hospitals` in turn (`services.synthetic.HOSPITALS`)."""

    name: str
    cases: tuple[CaseFiles, ...] = ()
    hospitals: tuple[str, ...] = ()
    count: int = Field(default=0, ge=0, le=10_000)


class Plan(_Strict):
    """Networks (folders with a card, or else names of the zoo), datasets `a` and `b` to train on, and `outside` ones
    that are only tested; each dataset has a name of its own (else FIELD_INVALID).

    `working_factor` and `window` replace those of the cards: coarser networks learn in minutes what fine ones learn in
    days, less well. `hold_out` cases of `b` are drawn by lot and only tested. Every training takes so many `steps`,
    which can be repeated, or so many `minutes`. `cache_gib` bounds what is kept on disk of the training cases.
    """

    out: Path
    networks: tuple[Path, ...] = Field(min_length=1)
    class_map: str
    a: Dataset
    b: Dataset
    outside: tuple[Dataset, ...] = ()
    working_factor: int | None = Field(default=None, ge=1, le=4)
    window: Triple | None = None
    hold_out: int = Field(ge=2, le=10_000)
    steps: int | None = Field(default=None, ge=50, le=10_000_000, multiple_of=50)
    minutes: float | None = Field(default=None, gt=0, le=100_000)
    rate: float = Field(default=1e-3, gt=0, lt=1)
    seed: int = 0
    threads: int = Field(default=2, ge=1, le=256)
    cache_gib: float = Field(default=20.0, gt=0)

    @model_validator(mode="after")
    def _one_budget(self) -> "Plan":
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("either steps or minutes")
        return self

    @model_validator(mode="after")
    def _distinct(self) -> "Plan":
        names = [dataset.name for dataset in (self.a, self.b, *self.outside)]
        if twice := [name for name in names if names.count(name) > 1]:
            raise AtlasError(
                Reason.FIELD_INVALID,
                "Two datasets have this name, by which alone their results are told apart.",
                field=twice[0][:64],
                remedy="Give every dataset once.",
            )
        return self

    def cards(self) -> list[Card]:
        """The networks' cards as they are trained here. Raises MODEL_CARD_INVALID, and what `sized` does."""
        return [self.sized(_card(folder)) for folder in self.networks]

    def sized(self, card: Card) -> Card:
        """The card as it is trained here.

        Raises MODEL_CARD_INVALID for a network that is not one of the four, FIELD_INVALID for a window that no card may
        have.
        """
        if card.network.architecture not in _TRAINED:
            raise AtlasError(
                Reason.MODEL_CARD_INVALID,
                f"{card.network.architecture} is served, but not trained here.",
                field=card.name,
                remedy=f"Name networks of the kinds {', '.join(_TRAINED)}.",
            )
        asked = {"working_factor": self.working_factor, "window": self.window}
        changed = {name: value for name, value in asked.items() if value is not None}
        try:
            return Card.model_validate({**card.model_dump(), **changed})
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            raise AtlasError(Reason.FIELD_INVALID, f"{message}.", field="--window") from error

    @property
    def budget(self) -> str:
        """In words."""
        return f"{self.steps} steps" if self.steps else f"{self.minutes:g} minutes"

    def of(self, side: Side) -> Dataset:
        """The dataset that is trained on."""
        return self.a if side == "a" else self.b


def _card(folder: Path) -> Card:
    """Of the folder, or of the zoo where there is no such folder."""
    in_zoo = folder.name in zoo.names() and not (folder / CARD_FILE).exists()
    return zoo.to_train(folder.name) if in_zoo else load_card(folder)


_MAY_CHANGE = {"networks", "threads", "out", "cache_gib"}
_SAID = {"label", "summary", "intended_use", "licence", "origin", "weights", "trained_on", "reaches"}
"""What a card says that no result depends on: every network is trained from the beginning."""


def require_same(plan: Plan, cards: Sequence[Card]) -> None:
    """Keep the plan and the networks' cards in its folder, or refuse to mix them with others whose results lie there.

    Networks may come in later, and the number of threads may change. Raises RESOURCE_CONFLICT.
    """
    kept = {plan.out / "plan.json": (plan.model_dump_json(exclude=_MAY_CHANGE), "other datasets or times")}
    for card in cards:
        path = plan.out / "cards" / f"{card.name}.json"
        kept[path] = card.model_dump_json(exclude=_SAID), f"another card of {card.name}"
    for path, (text, other) in kept.items():
        if path.exists() and path.read_text() != text:
            raise AtlasError(
                Reason.RESOURCE_CONFLICT,
                f"This folder holds the results of a benchmark with {other}.",
                field=str(plan.out),
                remedy="Name another folder, or remove this one.",
            )
    (plan.out / "cards").mkdir(parents=True, exist_ok=True)
    for path, (text, _) in kept.items():
        path.write_text(text)


def held_out(dataset: str, cases: tuple[CaseFiles, ...], count: int, seed: int) -> tuple[CaseFiles, ...]:
    """So many cases by lot, which for a case does not depend on the others. Raises TRAINING_DATA if none is left."""
    if len(cases) <= count:
        raise AtlasError(
            Reason.TRAINING_DATA,
            f"{dataset} has {len(cases)} cases: none is left to train on if {count} are held out.",
            field="--hold-out",
            remedy="Hold fewer cases out, or give more.",
        )
    lots = sorted(cases, key=lambda case: hashlib.sha256(f"{seed}/{case.name}".encode()).digest())
    return tuple(sorted(lots[:count], key=lambda case: case.name))

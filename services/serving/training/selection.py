"""Which cases a training learns from, and which are held out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from services.core.errors import AtlasError, Reason
from services.core.storage import Storage
from services.serving.card import Card
from services.serving.training import stored, synthetic
from services.serving.training.cache import Entry


@dataclass(frozen=True)
class Data:
    """Cases to learn from, held-out cases, which nothing is trained on, and cases of earlier rounds to mix in.

    `facts` go into the card; `notes` say what is not learned, a sentence each.
    """

    cases: Sequence[Entry]
    held_out: Sequence[Entry]
    facts: dict[str, Any]
    replay: Sequence[Entry] = ()
    notes: tuple[str, ...] = ()


def synthetic_patients(count: int) -> Data:
    """So many synthetic patients."""
    seeds = range(synthetic.TRAINING_SEEDS, synthetic.TRAINING_SEEDS + count)
    facts = {"data": "synthetic patients (services.synthetic), 3 mm, nothing else", "patients": count}
    return Data(synthetic.entries(seeds), synthetic.entries(synthetic.HELD_OUT_SEEDS), facts)


def labelled(storage: Storage, card: Card, volumes: Iterable[str] | None, held_out: float) -> Data:
    """What people labelled in these volumes (all if None); the share `held_out` of the volumes is held out."""
    found = [(case, stored.entry(storage, card, case)) for case in stored.labelled(storage, card, volumes)]
    cases = [entry for case, entry in found if not case.is_held_out(held_out)]
    facts = {"data": "what people labelled in storage", "volumes": len(cases)}
    return Data(cases, [entry for case, entry in found if case.is_held_out(held_out)], facts)


def revisions(
    storage: Storage, card: Card, volumes: Iterable[str] | None, held_out: float
) -> tuple[Data, tuple[str, ...]]:
    """What people revised in these volumes (all if None), and the organs of the card that can be learned from it.

    Everything else that is labelled is mixed in, or held out. Raises TRAINING_DATA if nothing was revised, or only what
    is held out.
    """
    revised = {case.volume.name: case for case in stored.labelled(storage, card, volumes) if case.revised}
    if not revised:
        raise AtlasError(
            Reason.TRAINING_DATA,
            "Nobody has revised an organ of this model in these volumes that no source had labelled.",
            field="volumes",
            remedy="Review some volumes first.",
        )
    found = list(stored.labelled(storage, card))
    learned = [case for case in found if not case.is_held_out(held_out)]
    parts = (
        [case for case in learned if case.volume.name in revised],
        [case for case in found if case.is_held_out(held_out)],
        [case for case in learned if case.volume.name not in revised],
    )
    organs = {organ for case in revised.values() if not case.is_held_out(held_out) for organ in case.revised}
    if not organs:
        raise AtlasError(
            Reason.TRAINING_DATA,
            "Every volume in which an organ was revised is held out, so there is nothing to learn from.",
            field="volumes",
            remedy="Review more volumes, or lower --held-out.",
        )
    lost = {organ for case in revised.values() for organ in case.revised} - organs
    notes = tuple(f"{organ} was revised in held-out volumes only, so it is not tuned." for organ in sorted(lost))
    cases, out, replay = ([stored.entry(storage, card, case) for case in part] for part in parts)
    facts = {"data": "revisions in storage, with earlier cases mixed in", "volumes": len(cases)}
    return Data(cases, out, facts, replay, notes), tuple(organ for organ in card.organs if organ in organs)


def labelled_organs(data: Data, card: Card) -> tuple[Data, tuple[str, ...]]:
    """The organs of the card that some case to learn from is labelled for; `data` notes the others."""
    seen = {organ for entry in (*data.cases, *data.replay) for organ in entry.organs}
    notes = tuple(f"No case to learn from is labelled for {organ}." for organ in card.organs if organ not in seen)
    return replace(data, notes=data.notes + notes), tuple(organ for organ in card.organs if organ in seen)

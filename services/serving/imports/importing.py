"""One import from what a path holds to a model folder, or to the table that says why not."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from services.core import classmaps
from services.core.errors import AtlasError, Reason
from services.serving.adapting import Adapted
from services.serving.card import AXIS, CARD_FILE, Card, Origin, file_digest
from services.serving.imports import bundle, nnunet
from services.serving.imports.archives import read_tensors
from services.serving.imports.checkpoint import draft as checkpoint_draft
from services.serving.imports.checkpoint import folder_draft, with_channels
from services.serving.imports.draft import Draft, Wishes, reason
from services.serving.imports.install import install, require_free, require_name
from services.serving.imports.matching import Matching, match
from services.serving.networks import build_network

Tables = Mapping[str, Mapping[str, Tensor]]
_OPTIONS = {
    "card": "--card",
    "organs": "--organ",
    "labels": "--labels",
    "axes": "--axes",
    "grid_mm": "--grid",
    "checkpoint": "--checkpoint",
}
"""What is typed, by the field of `Wishes`; the other fields count in every layout."""
_TAKEN: dict[str, tuple[str, ...]] = {
    "file of weights": ("card", "organs", "labels", "axes"),
    "model folder": (),
    "nnU-Net result": ("organs", "axes", "grid_mm", "checkpoint"),
    "MONAI bundle": ("organs", "axes", "grid_mm", "checkpoint"),
}
"""Which of them count in which layout."""


@dataclass(frozen=True)
class Report:
    """What an import found: the card (with weights if it was written), what matched, and what must be known of it."""

    card: Card
    layout: str
    table: str
    """Place of the tensors in the file, such as "net"; "" is the file itself."""
    matching: Matching
    notes: tuple[str, ...]
    refusal: AtlasError | None = None


def import_model(source: Path, repository: Path, wishes: Wishes, *, replace: bool, write: bool) -> Report:
    """Read `source` and, if every name matches and `write` says so, write it into a Triton repository.

    The report carries the refusal if names or shapes do not match. Everything else raises: what reading and drafting
    raise, FIELD_INVALID for a wish that would not count, DIGEST_MISMATCH, CLASS_MAP_MISMATCH, and what `install` does.
    """
    _require_words(wishes)
    if write:
        require_free(wishes.name, repository, replace=replace)
    draft, tables = _draft(source, wishes)
    card = _finished(draft, _checked_digest(draft, wishes), wishes)
    network = build_network(card)
    own = network.network if isinstance(network, Adapted) else network
    table, matching = _best(card, own, tables or read_tensors(draft.weights))
    report = Report(card, draft.layout, table[0], matching, _notes(draft, card))
    if matching.faults:
        return replaced(report, refusal=_refusal(matching, draft.weights))
    _fill(own, table[1], matching, draft.weights)
    if not write:
        return report
    return replaced(report, card=install(network, card, repository, replace=replace))


def _require_words(wishes: Wishes) -> None:
    require_name(wishes.name)
    if wishes.axes and sorted(AXIS.get(letter, -1) for letter in wishes.axes) != [0, 1, 2]:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"{wishes.axes[:20]!r} are no three directions of the body.",
            field="--axes",
            remedy="Use one letter of each of LR, PA and IS, in the network's order: RAS, SAR, SPL.",
        )


def _draft(source: Path, wishes: Wishes) -> tuple[Draft, Tables]:
    """The draft, and the tensors if it took them to find the card."""
    if source.is_dir():
        if (source / CARD_FILE).is_file():
            _require_taken(wishes, "model folder")
            return folder_draft(source), {}
        if (source / nnunet.MARK).is_file():
            _require_taken(wishes, "nnU-Net result")
            return nnunet.draft(source, wishes), {}
        if (source / bundle.MARK).is_file():
            _require_taken(wishes, "MONAI bundle")
            return bundle.draft(source, wishes), {}
        raise AtlasError(
            Reason.FIELD_INVALID,
            "The folder is no MONAI bundle, no result of nnU-Net v2 and no model folder.",
            field=source.name,
            remedy=f"Name the folder that holds {bundle.MARK}, {nnunet.MARK} or {CARD_FILE}; or the file of weights.",
        )
    if not source.is_file():
        raise AtlasError(
            Reason.RESOURCE_NOT_FOUND,
            "There is no such file or folder.",
            field=str(source),
            remedy="Name a file of weights, or the folder of a MONAI bundle or of an nnU-Net v2 result.",
        )
    _require_taken(wishes, "file of weights")
    tables = read_tensors(source)
    return checkpoint_draft(source, tables, wishes), tables


def _require_taken(wishes: Wishes, layout: str) -> None:
    """Raise FIELD_INVALID for what was said and does not count in this layout."""
    for name, option in _OPTIONS.items():
        if getattr(wishes, name) and name not in _TAKEN[layout]:
            raise AtlasError(
                Reason.FIELD_INVALID,
                f"It would change nothing: the source is a {layout}.",
                field=option,
                remedy="Leave it out, or name the file of weights itself, with a card (--card) that says it.",
            )


def _checked_digest(draft: Draft, wishes: Wishes) -> str:
    """SHA-256 of the file. Raises DIGEST_MISMATCH if the card or the person says that it is another."""
    found = file_digest(draft.weights)
    for claimed, by in ((wishes.sha256.lower(), "you"), (draft.sha256, "the card")):
        if claimed and claimed != found:
            raise AtlasError(
                Reason.DIGEST_MISMATCH,
                f"The file hashes to {found}; {by} said {claimed[:64]}.",
                field=draft.weights.name,
                remedy="Fetch the file again, and the digest from its author.",
            )
    return found


def _finished(draft: Draft, digest: str, wishes: Wishes) -> Card:
    """The card under its name, with where the weights come from. Raises MODEL_CARD_INVALID or CLASS_MAP_MISMATCH."""
    card = _restricted(draft.card, wishes)
    origin = Origin(layout=draft.layout, file=draft.weights.name, sha256=digest)
    said = {
        "name": wishes.name,
        "weights": None,
        "licence": wishes.licence or card.licence,
        "origin": (card.origin or origin).model_dump(),
    }
    try:
        return Card.model_validate(card.model_dump() | said)
    except ValidationError as error:
        raise AtlasError(
            Reason.MODEL_CARD_INVALID,
            f"The card cannot be: {reason(error)}.",
            field="card",
            remedy="Write a card (atlas models show paper_swinunetr gives one to start from), and name it with --card "
            "and the file of weights.",
        ) from error


def _restricted(card: Card, wishes: Wishes) -> Card:
    """The card with the organs that the wanted class map has."""
    if not wishes.class_map or wishes.class_map == card.class_map:
        return card
    known = classmaps.load(wishes.class_map).organs
    channels = {organ: own for organ, own in card.channels.items() if organ in known}
    if not channels:
        raise AtlasError(
            Reason.CLASS_MAP_MISMATCH,
            f"No organ of the network is in {wishes.class_map}.",
            field="--class-map",
            remedy=f"Leave it out, or name a class map with one of: {', '.join(card.channels)}."[:500],
        )
    return with_channels(card.model_copy(update={"class_map": wishes.class_map}), channels)


def _best(card: Card, own: nn.Module, tables: Tables) -> tuple[tuple[str, Mapping[str, Tensor]], Matching]:
    """The table of tensors of which most names are ours; the outermost of equals."""
    ours = {name: tuple(value.shape) for name, value in own.state_dict().items()}
    matched = [
        (place, table, match(card.network.architecture, ours, {n: tuple(t.shape) for n, t in table.items()}))
        for place, table in tables.items()
    ]
    place, table, matching = max(matched, key=lambda entry: entry[2].count("matched"))
    return (place, table), matching


def _fill(own: nn.Module, table: Mapping[str, Tensor], matching: Matching, path: Path) -> None:
    """Put the tensors into the network. Raises WEIGHTS_MISMATCH if one is not finite."""
    state = {}
    for pairing in matching.pairings:
        if pairing.verdict == "matched":
            value = table[pairing.theirs]
            if value.is_floating_point() and not value.isfinite().all():
                raise AtlasError(
                    Reason.WEIGHTS_MISMATCH,
                    f"{pairing.theirs} holds no numbers.",
                    field=path.name,
                    remedy="Fetch the file again, or ask its author.",
                )
            state[pairing.ours] = value
    with torch.no_grad():
        # Not all of its names: what it does not compute with may be missing.
        own.load_state_dict(state, strict=False)
    own.eval()


def _refusal(matching: Matching, path: Path) -> AtlasError:
    counts = [
        f"{matching.count('missing')} missing",
        f"{matching.count('shape')} of another shape",
        f"{matching.count('additional')} too many",
    ]
    first = matching.faults[0]
    return AtlasError(
        Reason.WEIGHTS_MISMATCH,
        f"{matching.count('matched')} names match; {', '.join(counts)}. {first.ours or first.theirs}: {first.why}.",
        field=path.name,
        remedy="Is it the right card? --card names another; atlas models list shows those of the zoo.",
    )


def _notes(draft: Draft, card: Card) -> tuple[str, ...]:
    notes = list(draft.notes)
    if not card.licence:
        notes.append("No licence is known of these weights: read their author's terms, and give --licence.")
    return tuple(notes)

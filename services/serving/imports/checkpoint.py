"""A single file of tensors: which card of the zoo it belongs to, by its names and the number of its classes."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor

from services.core.errors import AtlasError, Reason
from services.serving import zoo
from services.serving.card import CARD_FILE, Architecture, Card, load_card, weights_path
from services.serving.imports.draft import Draft, Wishes, read_yaml, reason
from services.serving.imports.naming import channels_by_organ, labelled

_SIGNS: tuple[tuple[str, Architecture], ...] = (
    ("backbone.swinViT.|organ_embedding", "prompted_swinunetr"),
    ("backbone.down_tr64.|organ_embedding", "prompted_unet"),
    ("swinViT.", "swinunetr"),
    ("vit.patch_embedding.", "unetr"),
    ("down_tr64.", "genesis_unet"),
    ("convInit.", "segresnet"),
    ("model.1.submodule.", "unet"),
)
"""Parts of names that only one architecture has, the rarer first; all parts between "|" must be there."""
_WIDEST = "abdomenatlas-1.1"
"""The class map that knows every organ of ours."""
_HEADS: dict[Architecture, str] = {
    "prompted_swinunetr": "organ_embedding",
    "prompted_unet": "organ_embedding",
    "swinunetr": "out.conv.conv.weight",
    "unetr": "out.conv.conv.weight",
    "genesis_unet": "out_tr.final_conv.weight",
    "segresnet": "conv_final.2.conv.weight",
}
"""The tensor that has one row a class."""


def draft(path: Path, tables: Mapping[str, Mapping[str, Tensor]], wishes: Wishes) -> Draft:
    """The card that was named, or the one of the zoo that fits. Raises MODEL_NOT_FOUND, CLASS_MAP_MISMATCH."""
    names = {name: tuple(tensor.shape) for table in tables.values() for name, tensor in table.items()}
    card, sha256 = _named(wishes.card) if wishes.card else (_fitting(names), "")
    notes = (
        []
        if wishes.card
        else [f"The card is {card.name} of the zoo, by the names in the file; its classes are taken as that card says."]
    )
    count = _class_count(card.network.architecture, names)
    if wishes.labels:
        outputs = labelled(wishes.labels, count or card.channel_count)
        card = card.model_copy(update={"outputs": outputs, "organs": tuple(outputs.channels), "class_map": _WIDEST})
        notes.append(f"Its channels are taken in the order of {wishes.labels}.")
    elif count and count != card.channel_count:
        raise AtlasError(
            Reason.CLASS_MAP_MISMATCH,
            f"The file has {count} classes, the card {card.name} {card.channel_count}.",
            field=path.name,
            remedy="Say what they are: --labels abdomenatlas-1.1, or the dataset that it was trained on.",
        )
    if wishes.organs:
        card = _chosen(card, wishes.organs)
    if wishes.axes:
        card = card.model_copy(update={"axes": wishes.axes})
    return Draft(card, "checkpoint", path, tuple(notes), sha256)


def folder_draft(folder: Path) -> Draft:
    """The card of a model folder of ours, whose weights are what it says. Raises MODEL_CARD_INVALID."""
    card = load_card(folder, _name_in(folder))
    return Draft(card, "model folder", weights_path(folder, card))


def _name_in(folder: Path) -> str:
    """The model's name as its card says it: a folder that was passed on may be called anything."""
    try:
        return str(read_yaml(folder / CARD_FILE)["name"])
    except (AtlasError, KeyError) as error:
        raise AtlasError(
            Reason.MODEL_CARD_INVALID,
            f"The card cannot be read: {reason(error).rstrip('.')}.",
            field=CARD_FILE,
            remedy="Fetch the whole folder again.",
        ) from error


def _named(card: str) -> tuple[Card, str]:
    """A card of the zoo or of a file, and the digest that it claims."""
    if card in zoo.names():
        return zoo.load(card), ""
    path = Path(card)
    if not path.is_file():
        raise AtlasError(
            Reason.MODEL_NOT_FOUND,
            f"There is no card {card[:120]!r}.",
            field="--card",
            remedy=f"Name a file, or one of the zoo: {', '.join(zoo.names())}.",
        )
    try:
        found = Card.model_validate(read_yaml(path))
    except (AtlasError, ValidationError) as error:
        raise AtlasError(
            Reason.MODEL_CARD_INVALID,
            f"It is no card: {reason(error).rstrip('.')}.",
            field=path.name,
            remedy="atlas models show paper_swinunetr gives one to start from.",
        ) from error
    # What it reaches was measured with other weights than those that are to come.
    return found.model_copy(update={"reaches": (), "origin": None}), found.weights.sha256 if found.weights else ""


def _fitting(names: Mapping[str, tuple[int, ...]]) -> Card:
    architecture = next(
        (known for sign, known in _SIGNS if all(any(part in name for name in names) for part in sign.split("|"))), None
    )
    cards = [card for card in map(zoo.load, zoo.names()) if card.network.architecture == architecture]
    count = _class_count(architecture, names) if architecture else 0
    published = [card for card in cards if card.trained_on] or cards
    fitting = [card for card in published if count in (0, card.channel_count)] or published[:1]
    if len(fitting) != 1:
        raise AtlasError(
            Reason.MODEL_NOT_FOUND,
            "No card of the zoo, or more than one, fits the names in the file.",
            field="--card",
            remedy=f"Name a file with its card, or one of {', '.join(card.name for card in fitting) or 'the zoo'}.",
        )
    return fitting[0]


def _class_count(architecture: Architecture | None, names: Mapping[str, tuple[int, ...]]) -> int:
    """How many classes the file's last layer has, 0 if that cannot be seen from the names."""
    head = _HEADS.get(architecture) if architecture else None
    shapes = [shape for name, shape in names.items() if head and (name == head or name.endswith(f".{head}"))]
    return shapes[0][0] if shapes and shapes[0] else 0


def _chosen(card: Card, organs: dict[str, str]) -> Card:
    """The card with other channels for some organs."""
    names = {channel: organ for organ, channels in card.channels.items() for channel in channels}
    return with_channels(card, channels_by_organ(names, organs))


def with_channels(card: Card, channels: dict[str, tuple[int, ...]]) -> Card:
    """The card with these organs and channels. Raises CLASS_MAP_MISMATCH if they cannot be."""
    activation = card.outputs.activation if card.outputs else "sigmoid"
    outputs = {"activation": activation, "count": card.channel_count, "channels": channels}
    try:
        return Card.model_validate(card.model_dump() | {"outputs": outputs, "organs": tuple(channels)})
    except ValidationError as error:
        raise AtlasError(
            Reason.CLASS_MAP_MISMATCH,
            f"{reason(error)}.",
            field="--organ",
            remedy=f"Name organs of {card.class_map}, each with channels below {card.channel_count}.",
        ) from error

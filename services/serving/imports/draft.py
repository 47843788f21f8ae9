"""What is known of foreign weights before they are read: the card to be, and where the tensors are."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.core.errors import AtlasError, Reason
from services.serving.card import Card

_MAX_JSON_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Wishes:
    """What the person who imports says: see `atlas models import --help`."""

    name: str
    card: str = ""
    organs: dict[str, str] = field(default_factory=dict)
    labels: str = ""
    class_map: str = ""
    axes: str = ""
    grid_mm: float = 0.0
    """0 is what fits the network."""
    checkpoint: str = ""
    sha256: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Draft:
    """A card without weights, the file with the tensors, and what must be said of how the card came about."""

    card: Card
    layout: str
    weights: Path
    notes: tuple[str, ...] = ()
    sha256: str = ""
    """What the card itself says that the file hashes to."""


def reason(error: Exception) -> str:
    """What is wrong, in a few words: of a card that was refused, its first fault."""
    if isinstance(error, ValidationError):
        return str(error.errors()[0]["msg"])[:200]
    return f"{type(error).__name__} {error}"[:200]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises FILE_TOO_LARGE or FIELD_INVALID."""
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise AtlasError(Reason.FILE_TOO_LARGE, "It is too large for what it should hold.", field=path.name)
        data = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise AtlasError(Reason.FIELD_INVALID, "It cannot be read as JSON.", field=path.name) from error
    if not isinstance(data, dict):
        raise AtlasError(Reason.FIELD_INVALID, "It is no JSON object.", field=path.name)
    return data


def below(folder: Path, name: str) -> Path:
    """A file of a folder. Raises RESOURCE_NOT_FOUND, also for what lies elsewhere."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise AtlasError(Reason.RESOURCE_NOT_FOUND, f"There is no {name}.", field=folder.name)
    return path

"""What is known of foreign weights before they are read: the card to be, and where the tensors are."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from services.core.errors import AtlasError, Reason
from services.serving.card import Card

_MAX_JSON_BYTES = 16 * 2**20
_MAX_YAML_BYTES = 2**20
"""YAML is read slowly."""


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
    return error.message if isinstance(error, AtlasError) else f"{type(error).__name__} {error}"[:200]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises FILE_TOO_LARGE or FIELD_INVALID."""
    return _read(path, json.loads, "JSON", _MAX_JSON_BYTES)


def read_yaml(path: Path) -> dict[str, Any]:
    """A table in YAML, without aliases. Raises FILE_TOO_LARGE or FIELD_INVALID."""
    return _read(path, partial(yaml.load, Loader=_WithoutAliases), "YAML", _MAX_YAML_BYTES)


class _WithoutAliases(yaml.SafeLoader):
    """With aliases, a few lines can stand for more than fits into memory, or hold themselves."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not followed")
        return super().compose_node(parent, index)


def _read(path: Path, parse: Callable[[str], Any], language: str, most_bytes: int) -> dict[str, Any]:
    try:
        if path.stat().st_size > most_bytes:
            raise AtlasError(
                Reason.FILE_TOO_LARGE,
                f"It has more than {most_bytes >> 20} MiB, too much for what it should hold.",
                field=path.name,
                remedy="Fetch it again, or take it from where its author published it.",
            )
        data = parse(path.read_text())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"It cannot be read as {language}: {reason(error)}.",
            field=path.name,
            remedy=f"Mend it: plain {language} is read, nested a few levels deep, without aliases.",
        ) from error
    if not isinstance(data, dict):
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"It is no table in {language}, of names and values.",
            field=path.name,
            remedy="Is it the file that its name says?",
        )
    return data


def below(folder: Path, name: str) -> Path:
    """A file of a folder. Raises RESOURCE_NOT_FOUND, also for what lies elsewhere."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise AtlasError(
            Reason.RESOURCE_NOT_FOUND,
            f"There is no {name}.",
            field=folder.name,
            remedy="Name a file of the folder, or fetch it again; links to elsewhere are not followed.",
        )
    return path

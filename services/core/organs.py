"""What is known of each organ beforehand: data in `organs.yaml`, which explains the entries."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from importlib.resources import files
from typing import Any

import yaml


class Step(IntEnum):
    """A step of post-processing, in the order in which they are done. Values of `type.v1.OrganSteps.Step`."""

    SIDES = 1
    ISLANDS = 2
    PLAUSIBLE = 3
    LARGEST = 4
    HOLES = 5


@dataclass(frozen=True)
class Organ:
    """One organ's entry."""

    steps: tuple[Step, ...]
    island_mm3: float
    piece_share: float
    hole_mm3: float
    within: tuple[str, ...]


def organ(name: str) -> Organ:
    """The entry of an organ."""
    known, default = _table()
    return known.get(name, default)


def may_share(first: str, second: str) -> bool:
    """Whether one of two organs lies within the other, so that voxels of both are no contradiction."""
    return second in organ(first).within or first in organ(second).within


@cache
def _table() -> tuple[Mapping[str, Organ], Organ]:
    data = yaml.safe_load((files(__package__) / "organs.yaml").read_text())
    default = data["default"]
    return {name: _entry(default | entry) for name, entry in data["organs"].items()}, _entry(default)


def _entry(entry: Mapping[str, Any]) -> Organ:
    steps = tuple(sorted(Step[name.upper()] for name in entry["steps"]))
    return Organ(steps, entry["island_mm3"], entry["piece_share"], entry["hole_mm3"], tuple(entry["within"]))

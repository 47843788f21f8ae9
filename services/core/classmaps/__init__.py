"""Class maps: which label id means which organ. They are versioned data, one YAML file each beside this module."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from services.core.errors import AtlasError, Reason

DEFAULT = "abdomenatlas-1.0"


@dataclass(frozen=True)
class ClassMap:
    """Organ names by label id (1 to 255, in ascending order); 0 is background."""

    name: str
    organs_by_id: dict[int, str]

    @property
    def organs(self) -> tuple[str, ...]:
        """Organ names in order of their ids."""
        return tuple(self.organs_by_id.values())

    def id_of(self, organ: str) -> int:
        """Label id of an organ. Raises ORGAN_UNKNOWN."""
        self.require([organ])
        return next(label for label, name in self.organs_by_id.items() if name == organ)

    def require(self, organs: list[str] | tuple[str, ...], *, field: str = "organs") -> None:
        """Raise ORGAN_UNKNOWN unless the map knows every one of `organs`."""
        unknown = sorted(set(organs) - set(self.organs))
        if unknown:
            raise AtlasError(
                Reason.ORGAN_UNKNOWN,
                f"The class map {self.name} has no {', '.join(repr(o[:64]) for o in unknown[:8])}.",
                field=field,
                remedy=f"It has: {', '.join(self.organs)}.",
            )


def names() -> list[str]:
    """Names of the class maps that ship with the product."""
    return sorted(f.name.removesuffix(".yaml") for f in files(__package__).iterdir() if f.name.endswith(".yaml"))


@cache
def load(name: str = DEFAULT) -> ClassMap:
    """The class map of that name. Raises CLASS_MAP_MISMATCH if there is none."""
    if name not in names():
        raise AtlasError(
            Reason.CLASS_MAP_MISMATCH,
            f"There is no class map {name[:64]!r}.",
            field="class_map",
            remedy=f"Known: {', '.join(names())}.",
        )
    return ClassMap(name, dict(sorted(facts(name)["organs"].items())))


def fitting(organs: Iterable[str]) -> ClassMap:
    """The class map that knows the most of these organs; the first of those by name."""
    return max(map(load, names()), key=lambda class_map: len(set(organs) & set(class_map.organs)))


def facts(name: str) -> dict[str, Any]:
    """Everything that the file of a class map says: name, source, licence and organs by id."""
    return dict(yaml.safe_load((files(__package__) / f"{name}.yaml").read_text()))

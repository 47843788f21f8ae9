"""Who decides about an organ: the source, then the latest revision, then AI. Nobody alters what a higher one gave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum


class Origin(IntEnum):
    """Where a mask came from; a lower number takes precedence. The numbers are those of `storage.v1.Origin`."""

    SOURCE = 1
    REVISION = 2
    AI = 3


@dataclass(frozen=True)
class Given:
    """A label version that a dataset or a person gave. It speaks for the organs it looked for, present or not."""

    name: str
    origin: Origin
    organs: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """Where one organ's mask is taken from: a label version, or the ensemble of some predictions."""

    organ: str
    origin: Origin
    label_version: str = ""
    predictions: tuple[str, ...] = ()


def choose(organs: Sequence[str], given: Sequence[Given], predictions: Mapping[str, tuple[str, ...]]) -> list[Choice]:
    """For each of `organs`, in their order, where its mask is taken from.

    The lowest origin wins, among label versions of one origin the one named last. `predictions` holds, per organ, the
    predictions that have it. An organ that nobody looked for and no model has is unknown and left out.
    """
    by_precedence = sorted(enumerate(given), key=lambda item: (item[1].origin, -item[0]))
    choices = []
    for organ in organs:
        version = next((version for _, version in by_precedence if organ in version.organs), None)
        if version:
            choices.append(Choice(organ, version.origin, label_version=version.name))
        elif predictions.get(organ):
            choices.append(Choice(organ, Origin.AI, predictions=predictions[organ]))
    return choices

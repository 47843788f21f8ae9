"""Who decides about an organ: the source, then a revision, then AI. Nobody alters what a higher one gave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from services.merging.policy import Policy, Readers


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
    author: str = ""


@dataclass(frozen=True)
class Choice:
    """Where one organ's mask is taken from: a label version, several readers' versions, or some predictions."""

    organ: str
    origin: Origin
    label_version: str = ""
    readers: tuple[str, ...] = ()
    predictions: tuple[str, ...] = ()


def choose(
    organs: Sequence[str],
    given: Sequence[Given],
    predictions: Mapping[str, tuple[str, ...]],
    policy: Policy = Policy(),  # noqa: B008 - immutable
) -> list[Choice]:
    """For each of `organs`, in their order, where its mask is taken from.

    The lowest origin wins. Of its label versions the one named last does, unless the policy brings the readers together
    or names one who decides. `predictions` holds, per organ, the predictions that have it. An organ that nobody looked
    for and no model has is unknown and left out.
    """
    choices = []
    for organ in organs:
        speaking = [version for version in given if organ in version.organs]
        if speaking:
            origin = min(version.origin for version in speaking)
            choices.append(_of_people(organ, [v for v in speaking if v.origin == origin], policy))
        elif predictions.get(organ):
            choices.append(Choice(organ, Origin.AI, predictions=predictions[organ]))
    return choices


def _of_people(organ: str, versions: Sequence[Given], policy: Policy) -> Choice:
    """Of label versions of one origin, oldest first."""
    newest = {version.author: version for version in versions}
    if policy.readers == Readers.ADJUDICATED and policy.adjudicator in newest:
        decided = newest[policy.adjudicator]
    elif policy.readers == Readers.LATEST or len(newest) == 1:
        decided = versions[-1]
    else:
        readers = tuple(sorted(version.name for version in newest.values()))
        return Choice(organ, versions[0].origin, readers=readers)
    return Choice(organ, decided.origin, label_version=decided.name)

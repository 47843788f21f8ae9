"""How a campaign merges: the policy that is asked for, completed by what the models' cards tell."""

from dataclasses import replace
from typing import Any

from google.protobuf import json_format

from abdomenatlas.type.v1.merge_pb2 import MergePolicy, ModelReliability
from services.core import classmaps
from services.core.errors import AtlasError, Reason
from services.core.mergepolicy import resolved
from services.scheduler.ensembles import Card, Ensemble


def merge_policy(asked: MergePolicy, ensemble: Ensemble) -> dict[str, Any]:
    """The policy as protobuf JSON, with every default, and with what weighs the ensemble's models if it weighs them.

    Raises FIELD_INVALID, FIELD_REQUIRED, NAME_INVALID, MODEL_NOT_FOUND or ORGAN_UNKNOWN.
    """
    policy = resolved(asked, classmaps.load(ensemble.class_map), "merge_policy")
    _require_members(policy, ensemble)
    if policy.fusion == MergePolicy.FUSION_WEIGHTED:
        given = {(entry.model, entry.organ) for entry in policy.reliabilities}
        for card in ensemble.cards:
            policy.reliabilities.extend(_of_card(card, given))
    return json_format.MessageToDict(policy)


def next_policy(asked: dict[str, Any], merged: dict[str, Any], ensemble: Ensemble) -> dict[str, Any]:
    """The policy of a campaign's next round, whose ensemble is another one; all policies are protobuf JSON.

    `asked` is what its creator asked for, `merged` the last round's policy. A DSC of a model of which no version takes
    part is left out. Where a card tells none for an organ, what weighed the model before stays. Raises MODEL_NOT_FOUND
    for a DSC of a version that another one has replaced, and FIELD_REQUIRED if there is none.
    """
    policy = json_format.ParseDict(asked or merged, MergePolicy())
    given, members = list(policy.reliabilities), _members(ensemble)
    del policy.reliabilities[:]
    for entry in given:
        # Without `asked`, an entry of a version may be that of its card.
        if (_family(entry.model) if asked else entry.model) in members:
            policy.reliabilities.append(entry)
    try:
        return merge_policy(policy, _completed(ensemble, json_format.ParseDict(merged, MergePolicy())))
    except AtlasError as error:
        remedy = "Name versions that the campaign's merge policy weighs, or create a new campaign."
        raise AtlasError(error.reason, error.message, field="models", remedy=remedy) from error


def _completed(ensemble: Ensemble, before: MergePolicy) -> Ensemble:
    """Its cards, with the DSC that an earlier policy has for a version of the same model where they tell none."""
    cards = []
    for card in ensemble.cards:
        known = {entry.organ: entry.dsc for entry in before.reliabilities if _family(entry.model) == _family(card.name)}
        cards.append(replace(card, dsc=known | dict(card.dsc)))
    return replace(ensemble, cards=tuple(cards))


def _members(ensemble: Ensemble) -> set[str]:
    """The names of its models, with their versions and without."""
    return {part for name in ensemble.models for part in (name, _family(name))}


def _family(model: str) -> str:
    return model.partition("/versions/")[0]


def _require_members(policy: MergePolicy, ensemble: Ensemble) -> None:
    members = _members(ensemble)
    for entry in policy.reliabilities:
        if entry.model not in members:
            raise AtlasError(
                Reason.MODEL_NOT_FOUND,
                f"{entry.model} is given a DSC, but does not take part.",
                field="merge_policy.reliabilities",
                remedy=f"These take part: {', '.join(ensemble.models)}.",
            )


def _of_card(card: Card, given: set[tuple[str, str]]) -> list[ModelReliability]:
    """Entries for the organs of a model that have none."""
    names = (card.name, _family(card.name))
    if any((name, "") in given for name in names):
        return []
    organs = [organ for organ in card.organs if not any((name, organ) in given for name in names)]
    unknown = [organ for organ in organs if organ not in card.dsc]
    if unknown:
        raise AtlasError(
            Reason.FIELD_REQUIRED,
            f"The card of {card.name} does not tell how good it is at: {', '.join(unknown)}.",
            field="merge_policy.reliabilities",
            remedy="Give the DSC, or choose another fusion.",
        )
    return [ModelReliability(model=card.name, organ=organ, dsc=card.dsc[organ]) for organ in organs]

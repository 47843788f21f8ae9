"""What weighs the models of a campaign, from round to round, on both databases."""

from typing import Any

import pytest
from google.protobuf import json_format

from abdomenatlas.type.v1.merge_pb2 import MergePolicy, ModelReliability
from services.core.errors import AtlasError, Reason
from services.scheduler import fusing, journal, rounds
from services.scheduler.database import Database
from services.scheduler.ensembles import Card, Ensemble, agree
from tests.scheduler.rounds_of import Campaign, volumes

FIRST, SECOND, THIRD = (f"models/unet/versions/{number}" for number in (1, 2, 3))
OTHER = "models/segresnet/versions/1"
GIVEN = ModelReliability(model="models/unet", organ="liver", dsc=0.9)
GIVEN_FIRST = ModelReliability(model=FIRST, organ="liver", dsc=0.9)


def ensemble(*names: str, dsc: float = 0.8) -> Ensemble:
    return agree([card(name, liver=dsc, spleen=dsc) for name in names])


def partial(name: str, **dsc: float) -> Ensemble:
    """One model, whose card tells its DSC for some of its organs."""
    return agree([card(name, **dsc)])


def card(name: str, **dsc: float) -> Card:
    return Card(name, ("liver", "spleen"), "abdomenatlas-1.0", 1.5, dsc)


def weighted(
    database: Database, *given: ModelReliability, models: tuple[str, ...] = (FIRST,), before: bool = False
) -> Campaign:
    """A campaign between two rounds, the first by `models`; of one from `before` it is not known what was asked."""
    asked = MergePolicy(fusion=MergePolicy.FUSION_WEIGHTED, reliabilities=given)
    policies = {
        "asked_policy": {} if before else json_format.MessageToDict(asked),
        "merge_policy": fusing.merge_policy(asked, ensemble(*models)),
    }
    campaign = Campaign(database, volumes(3), review_share=0.0, policies=policies)
    campaign.score()
    return campaign


def next_weights(campaign: Campaign, models: Ensemble) -> dict[tuple[str, str], float]:
    """What weighs the models in the next round."""
    with campaign.database.change() as session:
        row = rounds.start_next(session, campaign.name, 0, "", campaign.now, ensemble=models)
        return _weights(row.merge_policy)


def _weights(policy: dict[str, Any]) -> dict[tuple[str, str], float]:
    return {(entry["model"], entry["organ"]): entry["dsc"] for entry in policy["reliabilities"]}


def test_a_new_version_weighs_what_its_own_card_tells_and_what_was_given_for_all_versions(database: Database) -> None:
    campaign = weighted(database, GIVEN)
    expected = {("models/unet", "liver"): 0.9, (SECOND, "spleen"): 0.7}
    assert next_weights(campaign, ensemble(SECOND, dsc=0.7)) == expected


def test_a_dsc_of_a_model_that_has_left_hinders_no_round_and_counts_when_it_is_back(database: Database) -> None:
    campaign = weighted(database, GIVEN, models=(FIRST, OTHER))
    assert next_weights(campaign, ensemble(OTHER)) == {(OTHER, "liver"): 0.8, (OTHER, "spleen"): 0.8}
    campaign.score()
    expected = {("models/unet", "liver"): 0.9, (SECOND, "spleen"): 0.8}
    assert next_weights(campaign, ensemble(SECOND)) == expected


def test_of_a_campaign_from_before_it_is_kept_what_can_be_no_card_s(database: Database) -> None:
    """Entries of a version that stays are kept too: they say what its card said, or what was given."""
    campaign = weighted(database, GIVEN, models=(FIRST, OTHER), before=True)
    assert next_weights(campaign, ensemble(SECOND, OTHER, dsc=0.7)) == {
        ("models/unet", "liver"): 0.9,
        (SECOND, "spleen"): 0.7,
        (OTHER, "liver"): 0.8,
        (OTHER, "spleen"): 0.8,
    }


@pytest.mark.parametrize("before", [False, True])
def test_where_its_card_tells_nothing_a_version_weighs_what_the_one_before_it_did(
    database: Database, before: bool
) -> None:
    """A tuned version's card tells of the organs that its held-out cases have."""
    campaign = weighted(database, before=before)
    assert next_weights(campaign, partial(SECOND, liver=0.9)) == {(SECOND, "liver"): 0.9, (SECOND, "spleen"): 0.8}
    campaign.score()
    assert next_weights(campaign, partial(THIRD, spleen=0.7)) == {(THIRD, "liver"): 0.9, (THIRD, "spleen"): 0.7}


@pytest.mark.parametrize(
    ("given", "models", "reason", "told"),
    [
        (
            GIVEN_FIRST,
            ensemble(SECOND),
            Reason.MODEL_NOT_FOUND,
            f"{FIRST} is given a DSC, but does not take part",
        ),
        (
            GIVEN,
            partial(OTHER, liver=0.9),
            Reason.FIELD_REQUIRED,
            f"The card of {OTHER} does not tell how good it is at: spleen",
        ),
    ],
)
def test_a_version_that_nothing_weighs_starts_no_round(
    database: Database, given: ModelReliability, models: Ensemble, reason: Reason, told: str
) -> None:
    campaign = weighted(database, given)
    with pytest.raises(AtlasError, match=told) as refused:
        next_weights(campaign, models)
    assert (refused.value.reason, refused.value.field) == (reason, "models")
    with database.read() as session:
        assert journal.find(session, "c").round == 1

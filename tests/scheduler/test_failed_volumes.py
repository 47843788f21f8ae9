"""What volumes that failed mean for the end of a campaign, on both databases."""

import pytest

from services.core.errors import AtlasError, Reason
from services.core.texts import amount
from services.scheduler.campaigns import Kind, State
from services.scheduler.database import Database
from tests.scheduler.rounds_of import Campaign, volumes


def failing(database: Database, count: int, failed: int, target: float = 0.2, review_share: float = 0.0) -> Campaign:
    """A campaign whose first round is over: the work of its first `failed` volumes has failed."""
    campaign = Campaign(database, volumes(count), review_share=review_share, target_error_share=target)
    campaign.failing = set(volumes(failed))
    campaign.score()
    return campaign


def test_an_audit_of_nothing_but_failed_volumes_is_refused_and_they_may_be_tried_again(database: Database) -> None:
    campaign = failing(database, count=3, failed=3)
    with pytest.raises(AtlasError, match="Nothing is left to look at but 3 volumes that failed") as refused:
        campaign.audit()
    assert (refused.value.reason, refused.value.field) == (Reason.CAMPAIGN_STATE, "name")
    campaign.failing = set()
    campaign.next_round()
    campaign.audit()
    assert len(campaign.open()) == 3


def test_who_has_looked_at_everything_but_failed_volumes_is_not_finished(database: Database) -> None:
    campaign = failing(database, count=4, failed=1)
    campaign.audit()
    for review in campaign.open():
        campaign.review(review)
    assert campaign.messages(Kind.AUDIT_DONE) == [
        "0 of 3 cases were wrong. Nothing is left to look at but 1 volume that failed: go on with another round."
    ]
    (found,) = campaign.report().audits
    assert (found.error_share_bound, found.passed) == (0.0, True)
    assert campaign.state() == State.ROUND_DONE
    campaign.failing = set()
    campaign.next_round()
    campaign.audit()
    (review,) = campaign.open()
    campaign.review(review)
    assert campaign.state() == State.FINISHED


def test_a_bound_on_what_is_labelled_tells_how_many_failed(database: Database) -> None:
    """No sample could tell of them: few that fail in every round must not keep the others from being finished."""
    campaign = failing(database, count=45, failed=5)
    campaign.audit()
    for review in campaign.open():
        campaign.review(review)
    assert campaign.state() == State.FINISHED
    (told,) = campaign.messages(Kind.AUDIT_DONE)
    assert told.endswith("and 20.00% were allowed: the campaign is finished. In no sample: 5 volumes that failed.")


def test_a_bound_on_the_others_does_not_finish_a_campaign_of_which_much_failed(database: Database) -> None:
    campaign = failing(database, count=60, failed=20)
    campaign.audit()
    for review in campaign.open():
        campaign.review(review)
    assert campaign.report().audits[0].passed
    assert campaign.state() == State.ROUND_DONE
    (told,) = campaign.messages(Kind.AUDIT_DONE)
    assert told.endswith(
        "and 20.00% were allowed. In no sample: 20 volumes that failed, more than 20.00% of all: "
        "go on with another round."
    )


@pytest.mark.parametrize(
    ("count", "failed", "target", "state"),
    [
        (5, 1, 0.2, State.FINISHED),
        # As floating-point numbers, 0.29 * 100 is less than 29.
        (100, 29, 0.29, State.FINISHED),
        (100, 30, 0.29, State.ROUND_DONE),
    ],
)
def test_who_has_looked_at_everything_but_few_failed_volumes_is_finished(
    database: Database, count: int, failed: int, target: float, state: State
) -> None:
    """Volumes that fail in every round must not keep a campaign open: as many may as may be wrong."""
    campaign = failing(database, count, failed, target)
    campaign.audit(cases=count)
    for review in campaign.open():
        campaign.review(review)
    assert campaign.state() == state
    (told,) = campaign.messages(Kind.AUDIT_DONE)
    then = "the campaign is finished." if state == State.FINISHED else "go on with another round."
    assert told.endswith(f"Nothing is left to look at but {amount(failed, 'volume')} that failed: {then}")


def test_without_a_volume_left_but_few_that_failed_an_audit_ends_at_once(database: Database) -> None:
    campaign = failing(database, count=5, failed=1, review_share=1.0)
    for review in campaign.open():
        campaign.review(review)
    campaign.audit()
    assert campaign.state() == State.FINISHED
    assert campaign.messages(Kind.AUDIT_DONE) == [
        "Nothing is left to look at but 1 volume that failed: the campaign is finished."
    ]

"""Who is reviewed in which round, on both databases."""

import pytest

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from services.scheduler import journal, pool
from services.scheduler.campaigns import Arm, Kind, State
from services.scheduler.database import Database
from services.scheduler.items import page
from tests.scheduler.rounds_of import Campaign, volumes


def test_a_round_is_the_strategys_choice_and_a_control_arm(database: Database) -> None:
    campaign = Campaign(database, volumes(40), review_share=0.25, control_share=0.2)
    campaign.score()
    control = {review.volume for review in campaign.all(Arm.CONTROL)}
    assert len(control) == 2
    most_urgent = [name for name in reversed(volumes(40)) if name not in control][:8]
    assert [review.volume for review in campaign.all(Arm.STRATEGY)] == most_urgent
    assert [review.id for review in campaign.open()] == [f"r1-{place}" for place in range(1, 11)]
    assert campaign.messages(Kind.RANKED) == ["40 volumes ranked, 10 to review."]
    with database.read() as session:
        ranked = [(item.volume, item.rank) for item in page(session, "c", None, 3)]
        assert ranked == [("v40", 1), ("v39", 2), ("v38", 3)]


def test_the_lot_is_the_same_if_it_is_drawn_again_and_another_in_the_next_round(database: Database) -> None:
    def control(name: str) -> list[set[str]]:
        campaign = Campaign(database, {f"{name}{n:02}": n for n in range(1, 41)}, name=name, review_share=0.25)
        drawn = []
        campaign.score()
        for _ in range(2):
            drawn.append({review.volume[-2:] for review in campaign.open() if review.arm == Arm.CONTROL})
            for review in campaign.open():
                campaign.review(review)
            campaign.next_round()
        return drawn

    first, second = control("a"), control("b")
    assert first[0] != first[1]
    assert first != second


@pytest.mark.parametrize(
    ("strategy", "first"),
    [
        (pb.Campaign.STRATEGY_PRIORITY, "many"),
        (pb.Campaign.STRATEGY_VOLUME, "large"),
        (pb.Campaign.STRATEGY_ERROR_PER_MINUTE, "wrong"),
        (pb.Campaign.STRATEGY_DIVERSITY, "mean"),
        (pb.Campaign.STRATEGY_EXCESS, "odd"),
    ],
)
def test_a_campaign_goes_by_its_strategy(database: Database, strategy: int, first: str) -> None:
    campaign = Campaign(
        database, {"many": 9, "large": 5, "wrong": 3, "mean": 1, "odd": 1}, review_share=0.2, strategy=strategy
    )
    campaign.facts = {
        "many": {"extent_mm": [100.0] * 3},
        "large": {"attention_mm3": 900.0, "extent_mm": [600.0] * 3},
        "wrong": {"expected_error_mm3": 900.0, "extent_mm": [500.0] * 3},
        "odd": {"organ_errors_mm3": {"liver": 40.0}, "extent_mm": [150.0] * 3},
    }
    campaign.score()
    (review,) = campaign.open()
    assert review.volume == first


def test_a_volume_that_people_have_labelled_throughout_is_not_drawn(database: Database) -> None:
    """Nothing was predicted, so there is no attention map, and no label of ours to look at."""
    campaign = Campaign(database, volumes(20), review_share=1.0, strategy=pb.Campaign.STRATEGY_RANDOM)
    campaign.labelled = {"v03", "v20"}
    campaign.score()
    assert sorted(review.volume for review in campaign.open()) == sorted(set(volumes(20)) - {"v03", "v20"})
    assert campaign.messages(Kind.RANKED) == ["20 volumes ranked, 18 to review."]


def test_a_budget_in_cases_is_spent_over_the_rounds(database: Database) -> None:
    campaign = Campaign(database, volumes(20), review_share=0.2, budget_cases=6)
    opened = []
    for _ in range(3):
        campaign.score()
        opened.append(len(campaign.open()))
        for review in campaign.open():
            campaign.review(review)
        assert campaign.state() == State.ROUND_DONE
        campaign.next_round()
    # 4 of 20, and then 2 of the 6 are left.
    assert opened == [4, 2, 0]
    assert campaign.messages(Kind.ROUND_DONE)[-1] == "No volume is sent to a person."


def test_a_budget_in_minutes_is_spent_as_measured(database: Database) -> None:
    """100 minutes: 6 cases of 15 are expected to fit. They take 10 minutes each, which the next round has learnt."""
    campaign = Campaign(database, volumes(30), review_share=1.0, budget_minutes=100.0)
    campaign.score()
    assert len(campaign.open()) == 6
    with database.read() as session:
        assert pool.left(session, journal.find(session, "c")).minutes == pytest.approx(10)
    for review in campaign.open():
        campaign.review(review, minutes=10)
    campaign.next_round()
    # 40 minutes are left. (5 x 15 + 6 x 10) / 11 is about 12.3 minutes a case: three fit.
    assert len(campaign.open()) == 3
    assert all(10 < review.expected_minutes < 15 for review in campaign.open())


def test_time_is_that_of_the_holders_and_not_of_the_queue(database: Database) -> None:
    campaign = Campaign(database, volumes(1), review_share=1.0)
    campaign.score()
    (review,) = campaign.open()
    campaign.now += 10**12
    campaign.review(review, minutes=7)
    (done,) = campaign.all()
    assert done.active_time == 7 * 60 * 10**6


def test_reviews_of_all_campaigns_teach_what_a_case_takes(database: Database) -> None:
    first = Campaign(database, volumes(10), name="first", review_share=1.0)
    first.score()
    for review in first.open():
        first.review(review, minutes=45)
    second = Campaign(database, volumes(10), name="second", review_share=0.1)
    second.score()
    (review,) = second.open()
    assert 30 < review.expected_minutes < 45

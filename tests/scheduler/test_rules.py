"""Small rules: states, etags, ensembles, patience, page tokens, settings."""

from enum import IntEnum
from typing import Any

import pytest
from pydantic import ValidationError

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.scheduler import campaigns, reviews
from services.scheduler.acquisition import ORDERS
from services.scheduler.acquisition.gain import MEASURES
from services.scheduler.ensembles import Card, agree
from services.scheduler.retry import Patience
from services.scheduler.settings import Settings

UNET = Card("models/unet/versions/1", ("liver", "spleen"), "abdomenatlas-1.0", 1.5)
SEGRESNET = Card("models/segresnet/versions/1", ("spleen", "pancreas"), "abdomenatlas-1.0", 1.5)


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (campaigns.State, pb.Campaign.State, "STATE_"),
        (campaigns.ItemState, pb.CampaignItem.State, "STATE_"),
        (campaigns.Kind, pb.CampaignEvent.Kind, "KIND_"),
        (campaigns.Arm, pb.Review.Arm, "ARM_"),
        (reviews.State, pb.Review.State, "STATE_"),
        (reviews.Decision, pb.Review.Decision, "DECISION_"),
    ],
)
def test_the_rules_and_the_api_have_the_same_values(ours: type[IntEnum], theirs: Any, prefix: str) -> None:
    assert {f"{prefix}{value.name}": value.value for value in ours if value} == {
        name: number for name, number in theirs.items() if number
    }


def test_strategies_and_measures_have_the_names_of_the_api() -> None:
    assert {f"STRATEGY_{name.upper()}" for name in ORDERS} == set(pb.Campaign.Strategy.keys()) - {
        "STRATEGY_UNSPECIFIED"
    }
    assert {f"MEASURE_{name.upper()}" for name in MEASURES} == set(pb.Gain.Measure.keys()) - {"MEASURE_UNSPECIFIED"}


@pytest.mark.parametrize("state", [state for state in campaigns.State if state != campaigns.State.ROUND_DONE])
def test_only_a_finished_round_is_followed_by_another(state: campaigns.State) -> None:
    campaigns.require_startable(campaigns.State.ROUND_DONE, "campaigns/c")
    with pytest.raises(AtlasError) as refused:
        campaigns.require_startable(state, "campaigns/c")
    assert refused.value.reason == Reason.CAMPAIGN_STATE
    assert refused.value.remedy


def test_an_etag_is_checked_if_it_is_given() -> None:
    campaigns.require_etag("", "3")
    campaigns.require_etag("3", "3")
    with pytest.raises(AtlasError, match="changed since"):
        campaigns.require_etag("2", "3")


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_share_is_from_0_to_1(share: float) -> None:
    with pytest.raises(AtlasError, match="not a share"):
        campaigns.require_share(share)


def test_models_that_agree_are_an_ensemble_of_all_their_organs() -> None:
    ensemble = agree([UNET, SEGRESNET])
    assert ensemble.models == (UNET.name, SEGRESNET.name)
    assert ensemble.organs == ("liver", "spleen", "pancreas")
    assert (ensemble.spacing_mm, ensemble.class_map) == (1.5, "abdomenatlas-1.0")


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (Card("models/x/versions/1", ("liver",), "abdomenatlas-1.1", 1.5), Reason.CLASS_MAP_MISMATCH),
        (Card("models/x/versions/1", ("liver",), "abdomenatlas-1.0", 3.0), Reason.GRID_MISMATCH),
    ],
)
def test_models_at_odds_are_both_named(other: Card, reason: Reason) -> None:
    with pytest.raises(AtlasError) as refused:
        agree([UNET, SEGRESNET, other])
    assert refused.value.reason == reason
    assert UNET.name in refused.value.message
    assert other.name in refused.value.message


def test_delays_double_up_to_a_limit() -> None:
    patience = Patience(1800, first_seconds=0.5, most_seconds=30)
    assert [patience.delay(n) for n in (0, 1, 2, 5, 6, 7, 1000)] == [0.5, 1, 2, 16, 30, 30, 30]


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_what_may_pass_is_waited_for_within_the_bound() -> None:
    time, calls = Time(), 0

    def down() -> None:
        nonlocal calls
        calls += 1
        raise AtlasError(Reason.DEPENDENCY_UNAVAILABLE, "down")

    with pytest.raises(AtlasError, match="down"):
        Patience(120).persist(down, time.sleep, time)
    assert 80 < time.now <= 120
    assert calls > 5


def test_useful_work_before_the_first_failure_costs_no_patience() -> None:
    """A prediction that ran an hour when its server went down is begun again."""
    time, calls = Time(), 0

    def cut_off_once() -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            time.sleep(3600)
            raise AtlasError(Reason.DEPENDENCY_UNAVAILABLE, "down")
        return calls

    assert Patience(120).persist(cut_off_once, time.sleep, time) == 2


def test_what_does_not_pass_is_raised_at_once() -> None:
    def broken() -> None:
        raise AtlasError(Reason.ORGAN_UNKNOWN, "broken")

    time = Time()
    with pytest.raises(AtlasError, match="broken"):
        Patience(120).persist(broken, time.sleep, time)
    assert time.now == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"database_url": "mysql://h/d"}, "sqlite:///path or postgresql"),
        ({"database_url": "sqlite://"}, "needs a file"),
        ({"database_url": "postgresql://u:secret@h/d"}, "executor_id is required"),
        ({"database_url": "nonsense"}, "not a SQLAlchemy URL"),
        ({"dead_seconds": 6}, "three times"),
        ({"concurrency": 0}, "concurrency"),
        ({"host": "0.0.0.0"}, "not loopback"),
    ],
)
def test_bad_settings_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as refused:
        Settings(**given)
    assert "secret" not in str(refused.value)


def test_settings_know_their_database() -> None:
    assert Settings().executor == "local"
    settings = Settings(database_url="postgresql://u:hushed@h/d", executor_id="scheduler-0")
    assert settings.url.drivername == "postgresql+psycopg"
    assert (settings.is_sqlite, settings.executor) == (False, "scheduler-0")
    assert "hushed" not in repr(settings)

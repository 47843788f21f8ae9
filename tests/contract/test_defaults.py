"""What two services take for granted of each other."""

from services.scheduler.campaigns import DEFAULT_PROFILE
from services.uncertainty import profiles


def test_a_campaign_s_default_profile_is_that_of_a_score() -> None:
    assert profiles.find("").name == DEFAULT_PROFILE

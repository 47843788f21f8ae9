"""What the calls about reviews refuse before they ask the database or anybody."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.scheduler import clock
from services.scheduler.database import Database
from services.scheduler.review_calls import ReviewCalls
from services.scheduler.settings import Settings
from services.scheduler.workers import Workers


@pytest.fixture
def calls(tmp_path: Path) -> ReviewCalls:
    """Return calls over an empty database."""
    database = Database(make_url(f"sqlite:///{tmp_path}/scheduler.db"))
    database.migrate()
    return ReviewCalls(database, Workers(Settings()), clock.now, lambda: None)


def test_of_a_review_that_is_not_there_it_is_said_where_to_look(calls: ReviewCalls) -> None:
    with pytest.raises(AtlasError, match="There is no review") as refused:
        calls.get(pb.GetReviewRequest(name="campaigns/c/reviews/r1-1"))
    assert refused.value.remedy == "List the campaign's reviews to see which there are."


@pytest.mark.parametrize(
    ("reviewer", "reason"),
    [
        ("", Reason.FIELD_REQUIRED),
        ("ann\nbob", Reason.FIELD_INVALID),
        ("ann\0", Reason.FIELD_INVALID),
        ("\u202enna", Reason.FIELD_INVALID),
        ("x" * 129, Reason.FIELD_INVALID),
        ("Dr. Åse Øst", Reason.RESOURCE_NOT_FOUND),
    ],
)
def test_who_could_not_be_the_author_of_a_revision_may_not_claim(
    calls: ReviewCalls, reviewer: str, reason: Reason
) -> None:
    """Storage would refuse the name only after the work is done."""
    with pytest.raises(AtlasError) as refused:
        calls.claim(pb.ClaimReviewRequest(name="campaigns/c/reviews/r1-1", reviewer=reviewer))
    assert refused.value.reason == reason

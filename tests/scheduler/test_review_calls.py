"""What the calls about reviews refuse, and what of a refused one is kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from abdomenatlas.storage.v1 import storage_pb2
from services.core.access import identity
from services.core.access.identity import Identity, Role
from services.core.errors import AtlasError, Reason
from services.scheduler import clock, desk, rounds
from services.scheduler.database import Database
from services.scheduler.review_calls import ReviewCalls
from services.scheduler.settings import Settings
from services.scheduler.workers import Workers
from tests.scheduler.rounds_of import HOUR, Campaign
from tests.scheduler.world import Server, World


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Database]:
    """Yield an empty database."""
    database = Database(make_url(f"sqlite:///{tmp_path}/scheduler.db"))
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def calls(tables: Database) -> ReviewCalls:
    """Return calls over the empty database."""
    return ReviewCalls(tables, Workers(Settings()), clock.now, lambda: None)


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


@pytest.mark.parametrize("lost", ["swept", "released", "cancelled"])
def test_work_of_an_annotator_whose_review_nobody_holds_any_more_is_refused_and_kept(
    tables: Database, workers: Server, world: World, lost: str
) -> None:
    campaign = Campaign(tables, {"a": 1}, review_share=1.0)
    campaign.score()
    calls = ReviewCalls(tables, Workers(Settings(storage=workers.address)), lambda: campaign.now, lambda: None)
    name = "campaigns/c/reviews/r1-1"
    revision = world.add_label("a", storage_pb2.ORIGIN_REVISION, ["spleen"], "ann")
    with identity.bound(Identity("ann", Role.ANNOTATOR)):
        token = calls.claim(pb.ClaimReviewRequest(name=name)).fencing_token
        release = pb.ReleaseReviewRequest(name=name, fencing_token=token)
        if lost == "released":
            calls.release(release)
        campaign.now += 2 * HOUR
        with tables.change() as session:
            if lost == "swept":
                assert desk.sweep(session, "c", campaign.now) == 1
            if lost == "cancelled":
                rounds.cancel(session, "c", "", campaign.now)
        with pytest.raises(AtlasError) as refused:
            calls.submit(
                pb.SubmitReviewRequest(
                    name=name, fencing_token=token, decision=pb.Review.DECISION_REVISED, revision=revision
                )
            )
        assert refused.value.reason == Reason.LEASE_LOST
        review = calls.get(pb.GetReviewRequest(name=name)).review
        assert list(review.side_versions) == [revision]
        if lost == "cancelled":
            assert "the campaign was cancelled" in str(refused.value)
        else:
            assert calls.release(release).review == review, "giving it back again changes nothing"

"""What reviewers hand in: decisions, revisions and leases, by a scheduler process on SQLite."""

from typing import Any

import pytest

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from abdomenatlas.storage.v1 import storage_pb2
from services.core.errors import AtlasError, Reason
from tests.components.processes import wait_until
from tests.scheduler.running import Scheduler, claim
from tests.scheduler.world import World

Kind = pb.CampaignEvent


@pytest.fixture
def one_review(scheduler: Scheduler, world: World, name: str) -> Scheduler:
    """Return a scheduler with a campaign name whose only volume "a" is held by "ann" under token 1."""
    scheduler.create(name, ["a"], review_share=1.0)
    scheduler.rest(name)
    (review,) = scheduler.reviews(name)
    assert claim(scheduler, review) == 1
    return scheduler


def test_a_revision_is_merged_and_the_round_ends(scheduler: Scheduler, world: World, name: str) -> None:
    # A volume of its own: later campaigns would take its revision in.
    world.sources["0"] = ()
    scheduler.create(name, ["0", "b"], review_share=1.0)
    seen = len(scheduler.rest(name))
    first, second = scheduler.reviews(name)
    revision = world.add_label("0", storage_pb2.ORIGIN_REVISION, ["spleen"], "ann")
    request = pb.SubmitReviewRequest(
        name=first.name,
        fencing_token=claim(scheduler, first),
        decision=pb.Review.DECISION_REVISED,
        revision=revision,
    )
    scheduler.rpc.SubmitReview(request)
    # The stream goes on while a decision is still to be merged.
    events = scheduler.rest(name, seen)
    assert [event.kind for event in events] == [
        Kind.KIND_REVIEW_CLAIMED,
        Kind.KIND_REVIEW_SUBMITTED,
        Kind.KIND_MERGED,
    ]
    assert [event.actor for event in events] == ["ann", "ann", ""]
    scheduler.rpc.SubmitReview(request)
    done = scheduler.reviews(name)[0]
    assert done.state == pb.Review.STATE_DONE
    assert world.made[done.result] == (tuple(scheduler.items(name)["0"].predictions), (revision,))
    assert scheduler.items(name)["0"].label_version == done.result

    scheduler.rpc.SubmitReview(
        pb.SubmitReviewRequest(
            name=second.name, fencing_token=claim(scheduler, second), decision=pb.Review.DECISION_ACCEPTED
        )
    )
    campaign = scheduler.campaign(name)
    assert campaign.state == pb.Campaign.STATE_ROUND_DONE
    assert campaign.open_review_count == 0
    assert scheduler.reviews(name)[1].result == second.label_version


def test_a_decision_takes_the_source_in_the_class_map_of_its_campaign(
    scheduler: Scheduler, world: World, name: str
) -> None:
    world.sources["twice"] = ("liver",)
    own = world.add_label("twice", storage_pb2.ORIGIN_SOURCE, ["liver"], "source")
    scheduler.create(name, ["twice"], review_share=1.0)
    seen = len(scheduler.rest(name))
    (review,) = scheduler.reviews(name)
    other = world.add_label("twice", storage_pb2.ORIGIN_SOURCE, ["liver", "colon"], "source")
    world.labels[other].class_map = "other-1"
    revision = world.add_label("twice", storage_pb2.ORIGIN_REVISION, ["spleen"], "ann")
    scheduler.rpc.SubmitReview(
        pb.SubmitReviewRequest(
            name=review.name,
            fencing_token=claim(scheduler, review),
            decision=pb.Review.DECISION_REVISED,
            revision=revision,
        )
    )
    scheduler.rest(name, seen)
    assert world.made[scheduler.reviews(name)[0].result][1] == (own, revision)


@pytest.mark.parametrize("measurable", [True, False])
def test_what_a_revision_changed_is_measured_and_a_decision_stands_without_it(
    scheduler: Scheduler, world: World, name: str, measurable: bool
) -> None:
    volume = f"measurable-{measurable}".lower()
    world.sources[volume] = ()
    world.organ_mm3 = 1000.0
    if not measurable:
        world.faults["compare", volume] = [AtlasError(Reason.VOLUME_TOO_LARGE, "It needs 99 GB.", field="first")]
    scheduler.create(name, [volume], review_share=1.0)
    seen = len(scheduler.rest(name))
    (review,) = scheduler.reviews(name)
    revision = world.add_label(volume, storage_pb2.ORIGIN_REVISION, ["spleen", "liver"], "ann")
    request = pb.SubmitReviewRequest(
        name=review.name,
        fencing_token=claim(scheduler, review),
        decision=pb.Review.DECISION_REVISED,
        revision=revision,
    )
    scheduler.rpc.SubmitReview(request)
    assert scheduler.rest(name, seen)[-1].kind == Kind.KIND_ROUND_DONE
    (done,) = scheduler.reviews(name)
    assert done.HasField("revised_mm3") == measurable
    # Two organs of 1000 mm^3 before and after, with a DSC of one half: (1000 + 1000) / 2 each.
    assert done.revised_mm3 == (2000 if measurable else 0)


def test_work_under_a_lost_lease_is_refused_and_kept(scheduler: Scheduler, world: World, name: str) -> None:
    scheduler.create(name, ["a"], review_share=1.0)
    scheduler.rest(name)
    (review,) = scheduler.reviews(name)
    old = claim(scheduler, review, "ann")
    scheduler.rpc.ReleaseReview(pb.ReleaseReviewRequest(name=review.name, fencing_token=old))
    claim(scheduler, review, "bob")
    revision = world.add_label("a", storage_pb2.ORIGIN_REVISION, ["spleen"], "ann")
    late = pb.SubmitReviewRequest(
        name=review.name, fencing_token=old, decision=pb.Review.DECISION_REVISED, revision=revision
    )
    for _ in range(2):
        with pytest.raises(AtlasError) as refused:
            scheduler.rpc.SubmitReview(late)
        assert refused.value.reason == Reason.LEASE_LOST
    now = scheduler.rpc.GetReview(pb.GetReviewRequest(name=review.name)).review
    assert list(now.side_versions) == [revision]
    assert (now.reviewer, now.state) == ("bob", pb.Review.STATE_CLAIMED)
    kept = [event for event in scheduler.rest(name) if event.kind == Kind.KIND_SIDE_VERSION_KEPT]
    assert [(event.resource, event.actor) for event in kept] == [(revision, "ann")]


def test_a_decision_that_cannot_be_merged_opens_the_review_again(scheduler: Scheduler, world: World, name: str) -> None:
    scheduler.create(name, ["a"], review_share=1.0)
    seen = len(scheduler.rest(name))
    (review,) = scheduler.reviews(name)
    revision = world.add_label("a", storage_pb2.ORIGIN_REVISION, ["spleen"], "ann")
    world.faults["merge", "a"] = [AtlasError(Reason.GEOMETRY_MISMATCH, "Other grid.", field="masks")]
    scheduler.rpc.SubmitReview(
        pb.SubmitReviewRequest(
            name=review.name,
            fencing_token=claim(scheduler, review),
            decision=pb.Review.DECISION_REVISED,
            revision=revision,
        )
    )
    events = scheduler.rest(name, seen)
    assert events[-1].kind == Kind.KIND_FAILED
    assert "GEOMETRY_MISMATCH" in events[-1].message
    (again,) = scheduler.reviews(name)
    assert list(again.side_versions) == [revision]
    assert (again.state, again.revision) == (pb.Review.STATE_OPEN, "")
    world.faults.clear()
    scheduler.rpc.SubmitReview(
        pb.SubmitReviewRequest(
            name=review.name, fencing_token=claim(scheduler, review), decision=pb.Review.DECISION_ACCEPTED
        )
    )
    assert scheduler.campaign(name).state == pb.Campaign.STATE_ROUND_DONE


def test_a_lease_that_ends_is_swept(scheduler: Scheduler, world: World, name: str) -> None:
    scheduler.create(name, ["a"], review_share=1.0)
    seen = len(scheduler.rest(name))
    (review,) = scheduler.reviews(name)
    request = pb.ClaimReviewRequest(name=review.name, reviewer="ann")
    request.lease.FromSeconds(1)
    scheduler.rpc.ClaimReview(request)
    with pytest.raises(AtlasError, match="ann holds this review"):
        claim(scheduler, review, "bob")
    wait_until(lambda: len(scheduler.rest(name, seen)) == 2, "the sweep", 60)
    events = scheduler.rest(name, seen)
    assert [event.kind for event in events] == [Kind.KIND_REVIEW_CLAIMED, Kind.KIND_REVIEW_RELEASED]
    assert events[1].actor == "ann"
    assert scheduler.reviews(name)[0].state == pb.Review.STATE_OPEN


def test_a_decision_that_makes_no_sense_is_refused(one_review: Scheduler, world: World, name: str) -> None:
    """Nothing of it is kept."""
    table: list[tuple[str, storage_pb2.Origin.ValueType, dict[str, Any], Reason]] = [
        ("a", storage_pb2.ORIGIN_REVISION, {"decision": pb.Review.DECISION_UNSPECIFIED}, Reason.FIELD_REQUIRED),
        ("a", storage_pb2.ORIGIN_REVISION, {"decision": 9}, Reason.FIELD_INVALID),
        ("a", storage_pb2.ORIGIN_REVISION, {"revision": ""}, Reason.FIELD_REQUIRED),
        ("a", storage_pb2.ORIGIN_REVISION, {"decision": pb.Review.DECISION_ACCEPTED}, Reason.FIELD_INVALID),
        ("a", storage_pb2.ORIGIN_REVISION, {"revision": "volumes/a/labels/none"}, Reason.RESOURCE_NOT_FOUND),
        ("b", storage_pb2.ORIGIN_REVISION, {}, Reason.FIELD_INVALID),
        ("a", storage_pb2.ORIGIN_SOURCE, {}, Reason.FIELD_INVALID),
        ("a", storage_pb2.ORIGIN_REVISION, {"name": f"campaigns/{name}/reviews/none"}, Reason.RESOURCE_NOT_FOUND),
        ("a", storage_pb2.ORIGIN_REVISION, {"name": "reviews/none"}, Reason.NAME_INVALID),
    ]
    for volume, origin, fields, reason in table:
        given: dict[str, Any] = {
            "name": f"campaigns/{name}/reviews/r1-1",
            "fencing_token": 1,
            "decision": pb.Review.DECISION_REVISED,
            "revision": world.add_label(volume, origin, ["spleen"], "ann"),
        }
        with pytest.raises(AtlasError) as refused:
            one_review.rpc.SubmitReview(pb.SubmitReviewRequest(**(given | fields)))
        assert refused.value.reason == reason, fields
    assert one_review.reviews(name)[0].side_versions == []

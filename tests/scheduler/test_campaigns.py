"""Campaigns end to end: real calls, real workflows, twins of the other services."""

import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from abdomenatlas.storage.v1 import storage_pb2
from services.core.errors import AtlasError, Reason
from services.core.rpc import request_id
from tests.components.processes import wait_until
from tests.scheduler.running import Scheduler
from tests.scheduler.world import MODELS, Server, World

Kind = pb.CampaignEvent


def test_a_round_makes_labels_of_every_volume_and_asks_for_the_most_urgent(scheduler: Scheduler, world: World) -> None:
    world.priorities.update(a=5, b=50, c=7)
    with request_id.bound("trace-1"):
        created = scheduler.create("c1", ["a", "b", "c"], review_share=0.5)
    assert created.state == pb.Campaign.STATE_RUNNING
    assert created.models == list(MODELS)
    events = scheduler.rest("c1")

    campaign, items, reviews = scheduler.campaign("c1"), scheduler.items("c1"), scheduler.reviews("c1")
    assert (campaign.state, campaign.ready_count, campaign.failed_count) == (pb.Campaign.STATE_IN_REVIEW, 3, 0)
    assert list(items) == ["b", "c", "a"]
    assert [item.rank for item in items.values()] == [1, 2, 3]
    assert [review.volume for review in reviews] == ["volumes/b", "volumes/c"]
    assert campaign.open_review_count == 2
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[0].kind == Kind.KIND_ROUND_STARTED
    assert events[-1].kind == Kind.KIND_RANKED
    assert sorted(event.kind for event in events if event.volume == "volumes/a") == [
        Kind.KIND_PREDICTED,
        Kind.KIND_PREDICTED,
        Kind.KIND_SCORED,
        Kind.KIND_MERGED,
    ]
    assert world.request_ids == {"trace-1"}


def test_organs_of_the_source_are_not_scored_and_go_into_the_merge(scheduler: Scheduler, world: World) -> None:
    scheduler.create("c1", ["b"])
    scheduler.rest("c1")
    item = scheduler.items("c1")["b"]
    assert item.source_organs == ["liver"]
    assert [organ.organ for organ in world.made[item.attention_map].organs] == ["spleen", "pancreas"]
    source = next(name for name, label in world.labels.items() if label.origin == storage_pb2.ORIGIN_SOURCE)
    assert world.made[item.label_version] == (tuple(item.predictions), (source,))


def test_a_volume_whose_source_labelled_everything_needs_neither_prediction_nor_person(
    scheduler: Scheduler, world: World
) -> None:
    world.sources["full"] = ("liver", "spleen", "pancreas")
    world.add_label("full", storage_pb2.ORIGIN_SOURCE, world.sources["full"], "source")
    scheduler.create("c1", ["full"], review_share=1.0)
    scheduler.rest("c1")
    item = scheduler.items("c1")["full"]
    assert item.state == pb.CampaignItem.STATE_READY
    assert (item.priority, item.attention_map, list(item.predictions)) == (0, "", [])
    assert item.label_version
    assert scheduler.campaign("c1").state == pb.Campaign.STATE_ROUND_DONE


def test_a_failing_volume_tells_why_and_the_others_go_on(scheduler: Scheduler, world: World) -> None:
    world.faults["predict", "b"] = [
        AtlasError(Reason.VOLUME_TOO_LARGE, "It needs 99 GB.", field="volume", remedy="Crop it.")
    ]
    scheduler.create("c1", ["a", "b", "c"], review_share=0.0)
    events = scheduler.rest("c1")
    campaign, items = scheduler.campaign("c1"), scheduler.items("c1")
    assert (campaign.ready_count, campaign.failed_count) == (2, 1)
    assert items["b"].state == pb.CampaignItem.STATE_FAILED
    assert "VOLUME_TOO_LARGE" in items["b"].error
    assert "Crop it." in items["b"].error
    assert MODELS[0] in items["b"].error
    assert items["b"].rank == 0
    assert [event.message for event in events if event.kind == Kind.KIND_FAILED] == [items["b"].error]
    assert campaign.state == pb.Campaign.STATE_ROUND_DONE
    assert events[-1].kind == Kind.KIND_ROUND_DONE


def test_a_passing_error_is_waited_for(scheduler: Scheduler, world: World) -> None:
    world.faults["score", "a"] = [AtlasError(Reason.DEPENDENCY_UNAVAILABLE, "down")] * 2
    scheduler.create("c1", ["a"], review_share=0.0)
    scheduler.rest("c1")
    assert scheduler.items("c1")["a"].state == pb.CampaignItem.STATE_READY
    assert sum(world.calls["predict", "a", model] for model in MODELS) == len(MODELS)


@pytest.fixture
def one_review(scheduler: Scheduler) -> Scheduler:
    """Return a scheduler with a campaign "c1" whose only volume "a" is held by "ann" under token 1."""
    scheduler.create("c1", ["a"], review_share=1.0)
    scheduler.rest("c1")
    (review,) = scheduler.reviews("c1")
    assert _claim(scheduler, review) == 1
    return scheduler


def _claim(scheduler: Scheduler, review: pb.Review, reviewer: str = "ann") -> int:
    return scheduler.rpc.ClaimReview(pb.ClaimReviewRequest(name=review.name, reviewer=reviewer)).fencing_token


def test_a_revision_is_merged_and_the_round_ends(scheduler: Scheduler, world: World) -> None:
    scheduler.create("c1", ["a", "b"], review_share=1.0)
    seen = len(scheduler.rest("c1"))
    first, second = scheduler.reviews("c1")
    revision = world.add_label("a", storage_pb2.ORIGIN_REVISION, ["spleen"], "ann")
    request = pb.SubmitReviewRequest(
        name=first.name,
        fencing_token=_claim(scheduler, first),
        decision=pb.Review.DECISION_REVISED,
        revision=revision,
    )
    scheduler.rpc.SubmitReview(request)
    # The stream goes on while a decision is still to be merged.
    events = scheduler.rest("c1", seen)
    assert [event.kind for event in events] == [
        Kind.KIND_REVIEW_CLAIMED,
        Kind.KIND_REVIEW_SUBMITTED,
        Kind.KIND_MERGED,
    ]
    assert [event.actor for event in events] == ["ann", "ann", ""]
    scheduler.rpc.SubmitReview(request)
    done = scheduler.reviews("c1")[0]
    assert done.state == pb.Review.STATE_DONE
    assert world.made[done.result] == (tuple(scheduler.items("c1")["a"].predictions), (revision,))
    assert scheduler.items("c1")["a"].label_version == done.result

    scheduler.rpc.SubmitReview(
        pb.SubmitReviewRequest(
            name=second.name, fencing_token=_claim(scheduler, second), decision=pb.Review.DECISION_ACCEPTED
        )
    )
    campaign = scheduler.campaign("c1")
    assert campaign.state == pb.Campaign.STATE_ROUND_DONE
    assert campaign.open_review_count == 0
    assert scheduler.reviews("c1")[1].result == second.label_version


def test_the_next_round_leaves_reviewed_volumes_alone(scheduler: Scheduler, world: World) -> None:
    scheduler.create("c1", ["a", "b", "c"], review_share=0.3)
    seen = len(scheduler.rest("c1"))
    (review,) = scheduler.reviews("c1")
    assert review.volume == "volumes/a"
    with pytest.raises(AtlasError, match="open reviews") as refused:
        scheduler.rpc.StartRound(pb.StartRoundRequest(name="campaigns/c1"))
    assert refused.value.reason == Reason.CAMPAIGN_STATE
    scheduler.rpc.SubmitReview(
        pb.SubmitReviewRequest(
            name=review.name, fencing_token=_claim(scheduler, review), decision=pb.Review.DECISION_ACCEPTED
        )
    )
    with pytest.raises(AtlasError) as stale:
        scheduler.rpc.StartRound(pb.StartRoundRequest(name="campaigns/c1", etag="1"))
    assert stale.value.reason == Reason.ETAG_MISMATCH
    etag = scheduler.campaign("c1").etag
    started = scheduler.rpc.StartRound(pb.StartRoundRequest(name="campaigns/c1", etag=etag)).campaign
    assert (started.round, started.ready_count) == (2, 1)
    events = scheduler.rest("c1", seen)
    assert scheduler.campaign("c1").ready_count == 3
    assert {event.volume for event in events if event.kind == Kind.KIND_SCORED} == {"volumes/b", "volumes/c"}
    assert [(r.round, r.volume) for r in scheduler.reviews("c1")] == [(1, "volumes/a"), (2, "volumes/b")]
    assert world.calls["score", "a"] == 1
    assert list(scheduler.items("c1")) == ["b", "c", "a"]


def test_work_under_a_lost_lease_is_refused_and_kept(scheduler: Scheduler, world: World) -> None:
    scheduler.create("c1", ["a"], review_share=1.0)
    scheduler.rest("c1")
    (review,) = scheduler.reviews("c1")
    old = _claim(scheduler, review, "ann")
    scheduler.rpc.ReleaseReview(pb.ReleaseReviewRequest(name=review.name, fencing_token=old))
    _claim(scheduler, review, "bob")
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
    kept = [event for event in scheduler.rest("c1") if event.kind == Kind.KIND_SIDE_VERSION_KEPT]
    assert [(event.resource, event.actor) for event in kept] == [(revision, "ann")]


def test_a_decision_that_cannot_be_merged_opens_the_review_again(scheduler: Scheduler, world: World) -> None:
    scheduler.create("c1", ["a"], review_share=1.0)
    seen = len(scheduler.rest("c1"))
    (review,) = scheduler.reviews("c1")
    revision = world.add_label("a", storage_pb2.ORIGIN_REVISION, ["spleen"], "ann")
    world.faults["merge", "a"] = [AtlasError(Reason.GEOMETRY_MISMATCH, "Other grid.", field="masks")]
    scheduler.rpc.SubmitReview(
        pb.SubmitReviewRequest(
            name=review.name,
            fencing_token=_claim(scheduler, review),
            decision=pb.Review.DECISION_REVISED,
            revision=revision,
        )
    )
    events = scheduler.rest("c1", seen)
    assert events[-1].kind == Kind.KIND_FAILED
    assert "GEOMETRY_MISMATCH" in events[-1].message
    (again,) = scheduler.reviews("c1")
    assert list(again.side_versions) == [revision]
    assert (again.state, again.revision) == (pb.Review.STATE_OPEN, "")
    world.faults.clear()
    scheduler.rpc.SubmitReview(
        pb.SubmitReviewRequest(
            name=review.name, fencing_token=_claim(scheduler, review), decision=pb.Review.DECISION_ACCEPTED
        )
    )
    assert scheduler.campaign("c1").state == pb.Campaign.STATE_ROUND_DONE


def test_a_lease_that_ends_is_swept(scheduler: Scheduler) -> None:
    scheduler.create("c1", ["a"], review_share=1.0)
    seen = len(scheduler.rest("c1"))
    (review,) = scheduler.reviews("c1")
    request = pb.ClaimReviewRequest(name=review.name, reviewer="ann")
    request.lease.FromSeconds(1)
    scheduler.rpc.ClaimReview(request)
    with pytest.raises(AtlasError, match="ann holds this review"):
        _claim(scheduler, review, "bob")
    wait_until(lambda: len(scheduler.rest("c1", seen)) == 2, "the sweep", 10)
    events = scheduler.rest("c1", seen)
    assert [event.kind for event in events] == [Kind.KIND_REVIEW_CLAIMED, Kind.KIND_REVIEW_RELEASED]
    assert events[1].actor == "ann"
    assert scheduler.reviews("c1")[0].state == pb.Review.STATE_OPEN


def test_cancelling_withdraws_and_starts_nothing_new(scheduler: Scheduler, world: World) -> None:
    world.predict_seconds = 0.5
    scheduler.create("c1", ["a", "b", "c"])
    cancelled = scheduler.rpc.CancelCampaign(pb.CancelCampaignRequest(name="campaigns/c1")).campaign
    assert cancelled.state == pb.Campaign.STATE_CANCELLED
    assert scheduler.rest("c1")[-1].kind == Kind.KIND_CANCELLED
    assert all("cancelled" in item.error for item in scheduler.items("c1").values())
    assert not world.calls["merge", "a"]
    again = scheduler.rpc.CancelCampaign(pb.CancelCampaignRequest(name="campaigns/c1")).campaign
    assert again == cancelled


def test_a_repeated_request_gives_the_same_campaign(scheduler: Scheduler) -> None:
    first = scheduler.create("c1", ["a"], request_id="once")
    scheduler.rest("c1")
    assert scheduler.create("c1", ["a"], request_id="once").create_time == first.create_time
    with pytest.raises(AtlasError) as reused:
        scheduler.create("c1", ["a", "b"], request_id="once")
    assert reused.value.reason == Reason.REQUEST_ID_REUSED
    with pytest.raises(AtlasError) as taken:
        scheduler.create("c1", ["a"])
    assert taken.value.reason == Reason.RESOURCE_CONFLICT


def test_gauges_are_exported(scheduler: Scheduler, world: World) -> None:
    scheduler.create("c1", ["a"], review_share=1.0)
    scheduler.rest("c1")
    wait_until(lambda: "atlas_scheduler_open_reviews 1.0" in _metrics(scheduler), "the gauges", 10)
    text = _metrics(scheduler)
    assert "atlas_scheduler_backlog_volumes 0.0" in text
    assert "atlas_scheduler_in_flight 0.0" in text
    assert "atlas_scheduler_oldest_open_review_seconds" in text


def _metrics(scheduler: Scheduler) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{scheduler.metrics_port}/metrics") as response:
        return str(response.read().decode())


def test_a_second_process_on_sqlite_is_refused(scheduler: Scheduler, workers: Server, tmp_path: Path) -> None:
    second = Scheduler(f"sqlite:///{tmp_path}/scheduler.db", workers.address, tmp_path, executor="two")
    with pytest.raises(AssertionError, match="Another scheduler runs on this SQLite database"):
        second.start()
    assert second.process.wait(10) == 1


def test_it_stops_at_once_in_the_middle_of_work_and_takes_it_up_again(scheduler: Scheduler, world: World) -> None:
    world.predict_seconds = 60
    scheduler.create("c1", ["a", "b"], review_share=0.0)
    wait_until(lambda: world.calls["predict", "a", MODELS[0]] > 0, "the first prediction", 20)
    begun = time.monotonic()
    assert scheduler.stop() == 0
    assert time.monotonic() - begun < 10
    world.predict_seconds = 0
    scheduler.start()
    scheduler.rest("c1")
    assert scheduler.campaign("c1").ready_count == 2


def test_a_decision_that_makes_no_sense_is_refused(one_review: Scheduler, world: World) -> None:
    """Nothing of it is kept."""
    table: list[tuple[str, storage_pb2.Origin.ValueType, dict[str, Any], Reason]] = [
        ("a", storage_pb2.ORIGIN_REVISION, {"decision": pb.Review.DECISION_UNSPECIFIED}, Reason.FIELD_REQUIRED),
        ("a", storage_pb2.ORIGIN_REVISION, {"decision": 9}, Reason.FIELD_INVALID),
        ("a", storage_pb2.ORIGIN_REVISION, {"revision": ""}, Reason.FIELD_REQUIRED),
        ("a", storage_pb2.ORIGIN_REVISION, {"decision": pb.Review.DECISION_ACCEPTED}, Reason.FIELD_INVALID),
        ("a", storage_pb2.ORIGIN_REVISION, {"revision": "volumes/a/labels/none"}, Reason.RESOURCE_NOT_FOUND),
        ("b", storage_pb2.ORIGIN_REVISION, {}, Reason.FIELD_INVALID),
        ("a", storage_pb2.ORIGIN_SOURCE, {}, Reason.FIELD_INVALID),
        ("a", storage_pb2.ORIGIN_REVISION, {"name": "campaigns/c1/reviews/none"}, Reason.RESOURCE_NOT_FOUND),
        ("a", storage_pb2.ORIGIN_REVISION, {"name": "reviews/none"}, Reason.NAME_INVALID),
    ]
    for volume, origin, fields, reason in table:
        given: dict[str, Any] = {
            "name": "campaigns/c1/reviews/r1-1",
            "fencing_token": 1,
            "decision": pb.Review.DECISION_REVISED,
            "revision": world.add_label(volume, origin, ["spleen"], "ann"),
        }
        with pytest.raises(AtlasError) as refused:
            one_review.rpc.SubmitReview(pb.SubmitReviewRequest(**(given | fields)))
        assert refused.value.reason == reason, fields
    assert one_review.reviews("c1")[0].side_versions == []


def test_lists_come_page_by_page(one_review: Scheduler) -> None:
    one_review.create("c2", ["a", "b", "c"], review_share=1.0)
    one_review.rest("c2")
    names: list[str] = []
    request = pb.ListReviewsRequest(parent="campaigns/-", page_size=1)
    while True:
        page = one_review.rpc.ListReviews(request)
        names += [review.name for review in page.reviews]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert names == ["campaigns/c1/reviews/r1-1", *(f"campaigns/c2/reviews/r1-{rank}" for rank in (1, 2, 3))]
    listed = one_review.rpc.ListCampaigns(pb.ListCampaignsRequest(page_size=1))
    assert [campaign.name for campaign in listed.campaigns] == ["campaigns/c2"]
    listed = one_review.rpc.ListCampaigns(pb.ListCampaignsRequest(page_token=listed.next_page_token))
    assert [campaign.name for campaign in listed.campaigns] == ["campaigns/c1"]
    items = one_review.rpc.ListItems(pb.ListItemsRequest(parent="campaigns/c2", page_size=2))
    assert [item.rank for item in items.items] == [1, 2]
    with pytest.raises(AtlasError) as refused:
        one_review.rpc.ListItems(pb.ListItemsRequest(parent="campaigns/c1", page_token=items.next_page_token))
    assert refused.value.reason == Reason.PAGE_TOKEN_INVALID

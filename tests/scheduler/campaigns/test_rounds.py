"""Rounds of campaigns, from their volumes to the audit that ends them: by a scheduler process on SQLite."""

import pytest

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from abdomenatlas.storage.v1 import storage_pb2
from abdomenatlas.type.v1.merge_pb2 import MergePolicy
from services.core.errors import AtlasError, Reason
from services.core.rpc import request_id
from tests.scheduler.running import Scheduler, claim
from tests.scheduler.world import MODELS, ORGANS, World, model

Kind = pb.CampaignEvent


def test_a_round_makes_labels_of_every_volume_and_asks_for_the_most_urgent(
    scheduler: Scheduler, world: World, name: str
) -> None:
    world.priorities.update(a=5, b=50, c=7)
    with request_id.bound("trace-1"):
        created = scheduler.create(name, ["a", "b", "c"], review_share=0.5)
    assert created.state == pb.Campaign.STATE_RUNNING
    assert created.models == list(MODELS)
    events = scheduler.rest(name)

    campaign, items, reviews = scheduler.campaign(name), scheduler.items(name), scheduler.reviews(name)
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


def test_organs_of_the_source_are_not_scored_and_go_into_the_merge(
    scheduler: Scheduler, world: World, name: str
) -> None:
    scheduler.create(name, ["b"])
    scheduler.rest(name)
    item = scheduler.items(name)["b"]
    assert item.source_organs == ["liver"]
    assert [organ.organ for organ in world.made[item.attention_map].organs] == ["spleen", "pancreas"]
    source = next(name for name, label in world.labels.items() if label.origin == storage_pb2.ORIGIN_SOURCE)
    assert world.made[item.label_version] == (tuple(item.predictions), (source,))


def test_a_volume_whose_source_labelled_everything_needs_neither_prediction_nor_person(
    scheduler: Scheduler, world: World, name: str
) -> None:
    world.sources["full"] = ("liver", "spleen", "pancreas")
    world.add_label("full", storage_pb2.ORIGIN_SOURCE, world.sources["full"], "source")
    scheduler.create(name, ["full"], review_share=1.0)
    scheduler.rest(name)
    item = scheduler.items(name)["full"]
    assert item.state == pb.CampaignItem.STATE_READY
    assert (item.priority, item.attention_map, list(item.predictions)) == (0, "", [])
    assert item.label_version
    assert scheduler.campaign(name).state == pb.Campaign.STATE_ROUND_DONE


def test_a_failing_volume_tells_why_and_the_others_go_on(scheduler: Scheduler, world: World, name: str) -> None:
    world.faults["predict", "b"] = [
        AtlasError(Reason.VOLUME_TOO_LARGE, "It needs 99 GB.", field="volume", remedy="Crop it.")
    ]
    scheduler.create(name, ["a", "b", "c"], review_share=0.0)
    events = scheduler.rest(name)
    campaign, items = scheduler.campaign(name), scheduler.items(name)
    assert (campaign.ready_count, campaign.failed_count) == (2, 1)
    assert items["b"].state == pb.CampaignItem.STATE_FAILED
    assert "VOLUME_TOO_LARGE" in items["b"].error
    assert "Crop it." in items["b"].error
    assert MODELS[0] in items["b"].error
    assert items["b"].rank == 0
    assert [event.message for event in events if event.kind == Kind.KIND_FAILED] == [items["b"].error]
    assert campaign.state == pb.Campaign.STATE_ROUND_DONE
    assert events[-1].kind == Kind.KIND_ROUND_DONE
    (line,) = (line for line in scheduler.lines("step failed") if line["campaign"] == name)
    assert (line["service"], line["subject"], line["reason"]) == ("SchedulerService", "b", "VOLUME_TOO_LARGE")


def test_a_passing_error_is_waited_for(scheduler: Scheduler, world: World, name: str) -> None:
    world.faults["score", "a"] = [AtlasError(Reason.DEPENDENCY_UNAVAILABLE, "down")] * 2
    scheduler.create(name, ["a"], review_share=0.0)
    scheduler.rest(name)
    assert scheduler.items(name)["a"].state == pb.CampaignItem.STATE_READY
    assert sum(world.calls["predict", "a", model] for model in MODELS) == len(MODELS)


def test_the_next_round_leaves_reviewed_volumes_alone(scheduler: Scheduler, world: World, name: str) -> None:
    scheduler.create(name, ["a", "b", "c"], review_share=0.3)
    seen = len(scheduler.rest(name))
    (review,) = scheduler.reviews(name)
    assert review.volume == "volumes/a"
    with pytest.raises(AtlasError, match="open reviews") as refused:
        scheduler.rpc.StartRound(pb.StartRoundRequest(name=f"campaigns/{name}"))
    assert refused.value.reason == Reason.CAMPAIGN_STATE
    scheduler.rpc.SubmitReview(
        pb.SubmitReviewRequest(
            name=review.name, fencing_token=claim(scheduler, review), decision=pb.Review.DECISION_ACCEPTED
        )
    )
    with pytest.raises(AtlasError) as stale:
        scheduler.rpc.StartRound(pb.StartRoundRequest(name=f"campaigns/{name}", etag="1"))
    assert stale.value.reason == Reason.ETAG_MISMATCH
    etag = scheduler.campaign(name).etag
    request = pb.StartRoundRequest(name=f"campaigns/{name}", etag=etag, round=2)
    started = scheduler.rpc.StartRound(request).campaign
    assert (started.round, started.ready_count) == (2, 1)
    assert scheduler.rpc.StartRound(request).campaign.round == 2, "a repetition after a lost answer"
    events = scheduler.rest(name, seen)
    assert scheduler.campaign(name).ready_count == 3
    assert {event.volume for event in events if event.kind == Kind.KIND_SCORED} == {"volumes/b", "volumes/c"}
    assert [(r.round, r.volume) for r in scheduler.reviews(name)] == [(1, "volumes/a"), (2, "volumes/b")]
    assert world.calls["score", "a"] == 1
    assert list(scheduler.items(name)) == ["b", "c", "a"]


def test_the_next_round_may_take_newer_models(scheduler: Scheduler, world: World, name: str) -> None:
    """A campaign that names a model without a version has the newest there is, and the next round may have a newer."""
    created = scheduler.create(name, ["a", "b"], models=["models/unet"], review_share=0.5)
    assert created.models == ["models/unet/versions/1"]
    scheduler.rest(name)
    (review,) = scheduler.reviews(name)
    scheduler.rpc.SubmitReview(
        pb.SubmitReviewRequest(
            name=review.name, fencing_token=claim(scheduler, review), decision=pb.Review.DECISION_ACCEPTED
        )
    )
    for known in world.models:
        known.superseded = known.name == "models/unet/versions/1"
    world.models += [model("models/unet/versions/2"), model("models/coarse/versions/1")]
    world.models[-1].grid.spacing_mm = 3
    request = pb.StartRoundRequest(name=f"campaigns/{name}", round=2, models=["models/coarse"])
    with pytest.raises(AtlasError, match=r"grid is 1\.5 mm, that of models/coarse/versions/1 3") as refused:
        scheduler.rpc.StartRound(request)
    assert refused.value.reason == Reason.GRID_MISMATCH
    request.models[:] = ["models/unet"]
    assert scheduler.rpc.StartRound(request).campaign.models == ["models/unet/versions/2"]
    scheduler.rest(name)
    assert world.calls["predict", "b", "models/unet/versions/2"] == 1
    assert world.calls["predict", "a", "models/unet/versions/2"] == 0, "it was reviewed"


def test_the_merges_of_the_next_round_weigh_its_own_models(scheduler: Scheduler, world: World, name: str) -> None:
    world.models[1].dsc.update(dict.fromkeys(ORGANS, 0.8))
    policy = MergePolicy(fusion=MergePolicy.FUSION_WEIGHTED)
    policy.reliabilities.add(model="models/unet", organ="liver", dsc=0.9)
    scheduler.create(name, ["a"], models=["models/unet"], review_share=0.0, merge_policy=policy)
    scheduler.rest(name)
    world.models.append(model("models/unet/versions/2"))
    world.models[-1].organs.append("aorta")
    request = pb.StartRoundRequest(name=f"campaigns/{name}", models=["models/unet/versions/2"])
    with pytest.raises(AtlasError, match="does not tell how good it is at: aorta") as refused:
        scheduler.rpc.StartRound(request)
    assert (refused.value.reason, refused.value.field) == (Reason.FIELD_REQUIRED, "models")
    world.models[-1].dsc.update(spleen=0.7, aorta=0.6)
    scheduler.rpc.StartRound(request)
    scheduler.rest(name)
    told = {(entry.model, entry.organ): entry.dsc for entry in world.policies[-1].reliabilities}
    newest = "models/unet/versions/2"
    assert told == {
        ("models/unet", "liver"): 0.9,
        (newest, "spleen"): 0.7,
        (newest, "pancreas"): 0.8,
        (newest, "aorta"): 0.6,
    }


def test_a_campaign_draws_lots_learns_what_cases_are_and_stops_when_an_audit_says_so(
    scheduler: Scheduler, world: World, name: str
) -> None:
    """From CreateCampaign to STATE_FINISHED over the API; four volumes are all there is to audit."""
    world.organ_mm3 = 1000.0
    world.sources.update(dict.fromkeys(["d", "e", "f"], ()))
    created = scheduler.create(
        name, list("abcdef"), strategy=pb.Campaign.STRATEGY_VOLUME, budget_cases=2, control_share=0.5
    )
    assert (created.strategy, created.budget_cases, created.review_share) == (pb.Campaign.STRATEGY_VOLUME, 2, 1)
    assert created.audit_policy == pb.AuditPolicy(target_error_share=0.05, confidence=0.95)
    scheduler.rest(name)
    open_reviews = scheduler.reviews(name)
    assert [review.arm for review in open_reviews] == [pb.Review.ARM_UNSPECIFIED] * 2
    for review in open_reviews:
        _accept(scheduler, review)
    done = scheduler.reviews(name)
    assert sorted(review.arm for review in done) == [pb.Review.ARM_STRATEGY, pb.Review.ARM_CONTROL]
    assert all(review.active_time.ToMicroseconds() > 0 and review.revised_mm3 == 0 for review in done)

    asked = pb.GetCampaignReportRequest(name=f"campaigns/{name}")
    report = scheduler.rpc.GetCampaignReport(asked).report
    assert (report.cases_left, report.next_audit.case_count, report.next_audit.volume_count) == (0, 4, 4)
    assert [gain.measure for gain in report.gains] == [pb.Gain.MEASURE_REVISED_SHARE]
    seen = len(scheduler.rest(name))
    audit = pb.StartAuditRequest(name=f"campaigns/{name}", number=1)
    assert scheduler.rpc.StartAudit(audit).campaign.audit_count == 1
    assert scheduler.rpc.StartAudit(audit).campaign.open_review_count == 4, "a repetition after a lost answer"
    for review in scheduler.reviews(name):
        if review.state == pb.Review.STATE_OPEN:
            _accept(scheduler, review)
    kinds = [event.kind for event in scheduler.rest(name, seen)]
    assert (kinds[0], kinds[-1]) == (Kind.KIND_AUDIT_STARTED, Kind.KIND_AUDIT_DONE)
    assert scheduler.campaign(name).state == pb.Campaign.STATE_FINISHED
    (told,) = scheduler.rpc.GetCampaignReport(asked).report.audits
    assert (told.case_count, told.error_count, told.passed) == (4, 0, True)


def _accept(scheduler: Scheduler, review: pb.Review) -> None:
    scheduler.rpc.SubmitReview(
        pb.SubmitReviewRequest(
            name=review.name, fencing_token=claim(scheduler, review), decision=pb.Review.DECISION_ACCEPTED
        )
    )


def test_a_repeated_request_gives_the_same_campaign(scheduler: Scheduler, world: World, name: str) -> None:
    first = scheduler.create(name, ["a"], request_id="once")
    scheduler.rest(name)
    assert scheduler.create(name, ["a"], request_id="once").create_time == first.create_time
    with pytest.raises(AtlasError) as reused:
        scheduler.create(name, ["a", "b"], request_id="once")
    assert reused.value.reason == Reason.REQUEST_ID_REUSED
    with pytest.raises(AtlasError) as taken:
        scheduler.create(name, ["a"])
    assert taken.value.reason == Reason.RESOURCE_CONFLICT

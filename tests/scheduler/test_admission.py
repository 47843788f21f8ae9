"""What CreateCampaign and SubmitReview refuse, asked of the twins of the other services."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from abdomenatlas.storage.v1 import storage_pb2
from abdomenatlas.type.v1.merge_pb2 import MergePolicy, ModelReliability
from services.core.errors import AtlasError, Reason
from services.core.rpc import request_id
from services.scheduler import admission, campaigns
from services.scheduler.asking import acquisition
from services.scheduler.rounds import Acquisition
from services.scheduler.settings import Settings
from services.scheduler.workers import Workers
from tests.scheduler.world import CLASS_MAP, MODELS, ORGANS, Server, World, model

WEIGHTED = MergePolicy(
    fusion=MergePolicy.FUSION_WEIGHTED, reliabilities=[ModelReliability(model="models/unet", organ="liver", dsc=0.9)]
)


def request(**fields: Any) -> pb.CreateCampaignRequest:
    return pb.CreateCampaignRequest(**({"campaign_id": "c1", "volumes": ["volumes/a"]} | fields))


@pytest.fixture
def asked(workers: Server) -> Workers:
    address = workers.address
    return Workers(Settings(storage=address, inference=address, uncertainty=address, merging=address))


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"campaign_id": ""}, Reason.FIELD_REQUIRED, "campaign_id"),
        ({"campaign_id": "../c"}, Reason.NAME_INVALID, "campaign_id"),
        ({"volumes": []}, Reason.FIELD_REQUIRED, "volumes"),
        ({"volumes": ["a"]}, Reason.NAME_INVALID, "volumes"),
        ({"volumes": ["volumes/a"] * 2}, Reason.FIELD_INVALID, "volumes"),
        ({"volumes": ["volumes/a"] * 100_001}, Reason.FIELD_INVALID, "volumes"),
        ({"models": ["unet"]}, Reason.NAME_INVALID, "models"),
        ({"models": [MODELS[0]] * 2}, Reason.FIELD_INVALID, "models"),
        ({"review_share": 2.0}, Reason.FIELD_INVALID, "review_share"),
        ({"strategy": 99}, Reason.FIELD_INVALID, "strategy"),
        ({"control_share": 0.001}, Reason.FIELD_INVALID, "control_share"),
        ({"control_share": 0.6}, Reason.FIELD_INVALID, "control_share"),
        ({"control_share": float("nan")}, Reason.FIELD_INVALID, "control_share"),
        ({"budget_cases": 0}, Reason.FIELD_INVALID, "budget_cases"),
        ({"budget_cases": 100_001}, Reason.FIELD_INVALID, "budget_cases"),
        ({"budget_time": Duration(seconds=59)}, Reason.FIELD_INVALID, "budget_time"),
        ({"budget_time": Duration(seconds=2**62, nanos=-1)}, Reason.FIELD_INVALID, "budget_time"),
        (
            {"audit_policy": pb.AuditPolicy(target_error_share=1)},
            Reason.FIELD_INVALID,
            "audit_policy.target_error_share",
        ),
        (
            {"audit_policy": pb.AuditPolicy(target_error_share=1e-9)},
            Reason.FIELD_INVALID,
            "audit_policy.target_error_share",
        ),
        ({"audit_policy": pb.AuditPolicy(confidence=0.4)}, Reason.FIELD_INVALID, "audit_policy.confidence"),
        ({"audit_policy": pb.AuditPolicy(confidence=1)}, Reason.FIELD_INVALID, "audit_policy.confidence"),
        ({"audit_policy": pb.AuditPolicy(tolerance=-0.1)}, Reason.FIELD_INVALID, "audit_policy.tolerance"),
        ({"audit_policy": pb.AuditPolicy(tolerance=float("inf"))}, Reason.FIELD_INVALID, "audit_policy.tolerance"),
        ({"profile": "x" * 64}, Reason.FIELD_INVALID, "profile"),
        ({"profile": "parity\n"}, Reason.FIELD_INVALID, "profile"),
        ({"request_id": "x" * 65}, Reason.FIELD_INVALID, "request_id"),
        ({"request_id": "x\0"}, Reason.FIELD_INVALID, "request_id"),
    ],
)
def test_malformed_requests_are_refused_without_asking_anybody(
    fields: dict[str, Any], reason: Reason, field: str
) -> None:
    with pytest.raises(AtlasError) as refused:
        admission.require_well_formed(request(**fields))
    assert (refused.value.reason, refused.value.field) == (reason, field)


def test_one_repetition_among_the_most_volumes_is_found_quickly() -> None:
    """The longest list there may be, with its last two the same, is not searched once for every name."""
    volumes = [f"volumes/n{number}" for number in range(campaigns.MAX_VOLUMES - 1)]
    started = time.perf_counter()
    with pytest.raises(AtlasError, match=r"'volumes/n99998' is named twice"):
        admission.require_well_formed(request(volumes=[*volumes, volumes[-1]]))
    assert time.perf_counter() - started < 10


def test_an_empty_list_of_models_means_all_that_are_ready(world: World, asked: Workers) -> None:
    world.models.append(model("models/vista/versions/1", ready=False))
    with request_id.bound("t"):
        plan = admission.plan(request(), asked)
    assert plan.ensemble.models == MODELS
    assert (plan.ensemble.organs, plan.ensemble.class_map, plan.ensemble.spacing_mm) == (ORGANS, CLASS_MAP, 1.5)
    assert (plan.profile, plan.volumes, plan.trace_id) == ("calibrated", ("a",), "t")
    assert plan.acquisition == Acquisition()
    assert admission.plan(request(review_share=0.0), asked).acquisition.review_share == 0


@pytest.mark.parametrize(
    ("models", "fields", "reason"),
    [
        ([], {}, Reason.MODEL_NOT_READY),
        ([model(MODELS[0], ready=False)], {"models": [MODELS[0]]}, Reason.MODEL_NOT_READY),
        ([model(MODELS[0])], {"models": [MODELS[1]]}, Reason.MODEL_NOT_FOUND),
        ([model(MODELS[0]), model(MODELS[1], spacing_mm=3.0)], {}, Reason.GRID_MISMATCH),
        ([model(MODELS[0]), model(MODELS[1], class_map="other-1")], {}, Reason.CLASS_MAP_MISMATCH),
        ([model(f"models/m{n}/versions/1") for n in range(17)], {}, Reason.FIELD_INVALID),
        ([model(MODELS[0])], {"profile": "nonsense"}, Reason.PROFILE_UNKNOWN),
        ([model(MODELS[0])], {"volumes": ["volumes/a", "volumes/nobody"]}, Reason.RESOURCE_NOT_FOUND),
    ],
)
def test_what_does_not_fit_is_refused(
    world: World, asked: Workers, models: list[Any], fields: dict[str, Any], reason: Reason
) -> None:
    world.models = models
    with pytest.raises(AtlasError) as refused:
        admission.plan(request(**fields), asked)
    assert refused.value.reason == reason


def test_many_volumes_are_looked_up_by_listing(world: World, asked: Workers) -> None:
    names = [f"n{number:04}" for number in range(2500)]
    world.sources.update(dict.fromkeys(names, ()))
    volumes = [f"volumes/{name}" for name in names]
    assert len(admission.plan(request(volumes=volumes), asked).volumes) == 2500
    with pytest.raises(AtlasError, match=r"'volumes/n9999', or it was withdrawn; 1 volumes") as refused:
        admission.plan(request(volumes=[*volumes, "volumes/n9999"]), asked)
    assert refused.value.reason == Reason.RESOURCE_NOT_FOUND


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Acquisition()),
        # With a budget the first round may spend it all, unless a share is named.
        ({"budget_cases": 20}, Acquisition(review_share=1.0, budget_cases=20)),
        ({"budget_time": Duration(seconds=5400)}, Acquisition(review_share=1.0, budget_minutes=90.0)),
        ({"budget_cases": 20, "review_share": 0.1}, Acquisition(review_share=0.1, budget_cases=20)),
        (
            {"strategy": pb.Campaign.STRATEGY_DIVERSITY, "control_share": 0.25},
            Acquisition(strategy=pb.Campaign.STRATEGY_DIVERSITY, control_share=0.25),
        ),
        (
            {"audit_policy": pb.AuditPolicy(target_error_share=0.01, tolerance=0.02)},
            Acquisition(target_error_share=0.01, tolerance=0.02),
        ),
    ],
)
def test_what_is_left_out_has_a_default(fields: dict[str, Any], expected: Acquisition) -> None:
    assert acquisition(request(**fields)) == expected


def test_the_fingerprint_leaves_the_request_id_out() -> None:
    assert admission.fingerprint(request(request_id="1")) == admission.fingerprint(request(request_id="2"))
    assert admission.fingerprint(request()) != admission.fingerprint(request(review_share=0.05))


def test_a_withdrawn_volume_is_not_taken_into_a_campaign() -> None:
    mark = storage_pb2.Withdrawal(reason="consent was taken back", author="ana")
    storage: Any = SimpleNamespace(volume=lambda name: storage_pb2.Volume(name=name, withdrawal=mark))
    with pytest.raises(AtlasError, match="consent was taken back") as caught:
        admission._require_volumes(["volumes/a"], storage)
    assert (caught.value.reason, caught.value.field) == (Reason.FIELD_INVALID, "volumes")


def test_models_weigh_what_their_cards_tell_unless_it_is_given(asked: Workers, workers: Server) -> None:
    for entry in workers.world.models:
        entry.dsc.update(dict.fromkeys(ORGANS, 0.8))
    plan = admission.plan(request(merge_policy=WEIGHTED), asked)
    entries = plan.merge_policy["reliabilities"]
    assert {(entry["model"], entry["organ"]): entry["dsc"] for entry in entries} == {
        ("models/unet", "liver"): 0.9,
        **{(MODELS[0], organ): 0.8 for organ in ORGANS},
        **{(MODELS[1], organ): 0.8 for organ in ORGANS if organ != "liver"},
    }


def test_a_dsc_of_a_model_that_takes_no_part_is_refused(asked: Workers) -> None:
    policy = MergePolicy(fusion=MergePolicy.FUSION_WEIGHTED)
    policy.reliabilities.add(model="models/misspelt", dsc=0.9)
    with pytest.raises(AtlasError, match="models/misspelt is given a DSC, but does not take part") as caught:
        admission.plan(request(merge_policy=policy), asked)
    assert (caught.value.reason, caught.value.field) == (Reason.MODEL_NOT_FOUND, "merge_policy.reliabilities")


def test_a_model_that_nobody_measured_is_not_weighed(asked: Workers, workers: Server) -> None:
    with pytest.raises(AtlasError, match="does not tell how good it is at: liver, spleen, pancreas") as caught:
        admission.plan(request(merge_policy=WEIGHTED), asked)
    assert (caught.value.reason, caught.value.field) == (Reason.FIELD_REQUIRED, "merge_policy.reliabilities")


@pytest.mark.parametrize(
    ("policy", "reason", "field"),
    [
        ({"overwrite": 99}, Reason.FIELD_INVALID, "merge_policy.overwrite"),
        ({"readers": MergePolicy.READERS_ADJUDICATED}, Reason.FIELD_REQUIRED, "merge_policy.adjudicator"),
        ({"adjudicator": "ana"}, Reason.FIELD_INVALID, "merge_policy.adjudicator"),
        ({"post_processing": [{"organ": "heart"}]}, Reason.ORGAN_UNKNOWN, "merge_policy.post_processing[0].organ"),
        ({"reliabilities": [{"model": "models/unet", "dsc": 1}]}, Reason.FIELD_INVALID, "merge_policy.reliabilities"),
    ],
)
def test_a_policy_that_no_merge_would_take_makes_no_campaign(
    asked: Workers, policy: dict[str, Any], reason: Reason, field: str
) -> None:
    with pytest.raises(AtlasError) as caught:
        admission.plan(request(merge_policy=MergePolicy(**policy)), asked)
    assert (caught.value.reason, caught.value.field) == (reason, field)

"""What CreateCampaign and SubmitReview refuse, asked of the twins of the other services."""

import time
from typing import Any

import pytest

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.core.rpc import request_id
from services.scheduler import admission, campaigns
from services.scheduler.rounds import Acquisition
from services.scheduler.settings import Settings
from services.scheduler.workers import Workers
from tests.scheduler.world import CLASS_MAP, MODELS, ORGANS, Server, World, model


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
    assert (plan.profile, plan.volumes, plan.trace_id) == ("parity", ("a",), "t")
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
    with pytest.raises(AtlasError, match=r"'volumes/n9999'; 1 volumes") as refused:
        admission.plan(request(volumes=[*volumes, "volumes/n9999"]), asked)
    assert refused.value.reason == Reason.RESOURCE_NOT_FOUND


def test_the_fingerprint_leaves_the_request_id_out() -> None:
    assert admission.fingerprint(request(request_id="1")) == admission.fingerprint(request(request_id="2"))
    assert admission.fingerprint(request()) != admission.fingerprint(request(review_share=0.05))

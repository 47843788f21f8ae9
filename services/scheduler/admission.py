"""What a campaign must be made of before it is accepted: volumes that exist, models that agree, a known profile."""

import hashlib
from collections.abc import Sequence

from google.protobuf import json_format

from abdomenatlas.inference.v1.inference_pb2 import Model
from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from services.core import names
from services.core.access import identity
from services.core.errors import AtlasError, Reason
from services.core.rpc import request_id
from services.core.texts import require_text
from services.scheduler import campaigns
from services.scheduler.asking import acquisition
from services.scheduler.ensembles import Card, Ensemble, agree
from services.scheduler.fusing import merge_policy
from services.scheduler.rounds import Plan
from services.scheduler.workers import Workers

# Up to this many volumes are asked for one by one; for more it is quicker to list them all.
_FEW = 256
_MAX_PROFILE, _MAX_REQUEST_ID = 63, 64


def fingerprint(request: pb.CreateCampaignRequest) -> str:
    """SHA-256 of what is asked for, without the request id."""
    content = pb.CreateCampaignRequest()
    content.CopyFrom(request)
    content.request_id = ""
    return hashlib.sha256(content.SerializeToString(deterministic=True)).hexdigest()


def require_well_formed(request: pb.CreateCampaignRequest) -> None:
    """Check what can be checked without asking anybody."""
    names.require_id(request.campaign_id, "campaign_id")
    require_text(request.profile, "profile", longest=_MAX_PROFILE)
    require_text(request.request_id, "request_id", longest=_MAX_REQUEST_ID)
    if not request.volumes:
        raise AtlasError(
            Reason.FIELD_REQUIRED, "A campaign needs a volume.", field="volumes", remedy="Name at least one."
        )
    if len(request.volumes) > campaigns.MAX_VOLUMES:
        raise _invalid("volumes", f"A campaign has at most {campaigns.MAX_VOLUMES} volumes.")
    for volume in request.volumes:
        names.parse(volume, "volumes/*", "volumes")
    _require_models(request.models)
    _require_distinct(request.volumes, "volumes")
    acquisition(request)


def plan(request: pb.CreateCampaignRequest, workers: Workers) -> Plan:
    """The campaign that a well-formed request asks for.

    Raises RESOURCE_NOT_FOUND, MODEL_NOT_FOUND, MODEL_NOT_READY, GRID_MISMATCH, CLASS_MAP_MISMATCH or PROFILE_UNKNOWN.
    """
    ensemble = _ensemble(list(request.models), workers)
    profile = request.profile or campaigns.DEFAULT_PROFILE
    profiles = workers.profiles()
    if profile not in profiles:
        message = f"There is no attention profile {profile!r}."
        raise AtlasError(Reason.PROFILE_UNKNOWN, message, field="profile", remedy=f"There are: {', '.join(profiles)}.")
    _require_volumes(request.volumes, workers)
    return Plan(
        campaign=request.campaign_id,
        volumes=tuple(volume.removeprefix("volumes/") for volume in request.volumes),
        ensemble=ensemble,
        profile=profile,
        acquisition=acquisition(request),
        merge_policy=merge_policy(request.merge_policy, ensemble),
        asked_policy=json_format.MessageToDict(request.merge_policy),
        request_id=request.request_id,
        fingerprint=fingerprint(request),
        trace_id=request_id.current(),
        actor=identity.actor(),
    )


def next_ensemble(wanted: Sequence[str], workers: Workers) -> Ensemble | None:
    """The ensemble of a campaign's next round, None if none is named. Raises what `require_well_formed` and `plan` do
    of models."""
    _require_models(wanted)
    return _ensemble(list(wanted), workers) if wanted else None


def _require_models(wanted: Sequence[str]) -> None:
    for model in wanted:
        names.parse(model, "models/*" if model.count("/") == 1 else "models/*/versions/*", "models")
    _require_distinct(wanted, "models")


def _ensemble(wanted: list[str], workers: Workers) -> Ensemble:
    models = [workers.model(name) for name in wanted] or [
        model for model in workers.models() if model.ready and not model.superseded
    ]
    if not models:
        raise AtlasError(
            Reason.MODEL_NOT_READY, "Inference has no model ready.", field="models", remedy="Wait, or look at Triton."
        )
    for model in models:
        if not model.ready:
            message = f"{model.name} is not ready: {model.not_ready_reason}"
            raise AtlasError(Reason.MODEL_NOT_READY, message, field="models", remedy="Wait, or leave it out.")
    _require_distinct([model.name for model in models], "models")
    if len(models) > campaigns.MAX_MODELS:
        raise _invalid("models", f"An ensemble has at most {campaigns.MAX_MODELS} models, here are {len(models)}.")
    return agree([_card(model) for model in models])


def _card(model: Model) -> Card:
    return Card(model.name, tuple(model.organs), model.class_map, model.grid.spacing_mm, dict(model.dsc))


def _require_volumes(volumes: Sequence[str], workers: Workers) -> None:
    if len(volumes) <= _FEW:
        for volume in volumes:
            found = workers.volume(volume)
            if found.HasField("withdrawal"):
                raise AtlasError(
                    Reason.FIELD_INVALID,
                    f"{volume} was withdrawn: {found.withdrawal.reason}",
                    field="volumes",
                    remedy="Leave it out.",
                )
        return
    missing = set(volumes).difference(workers.volumes())
    if missing:
        raise AtlasError(
            Reason.RESOURCE_NOT_FOUND,
            f"Storage has no {min(missing)!r}, or it was withdrawn; {len(missing)} volumes are missing in all.",
            field="volumes",
            remedy="Import them first, and leave out what was withdrawn.",
        )


def _require_distinct(values: Sequence[str], field: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise _invalid(field, f"{value!r} is named twice.")
        seen.add(value)


def _invalid(field: str, message: str) -> AtlasError:
    return AtlasError(Reason.FIELD_INVALID, message, field=field)

"""Which method asks for which role, which services may call it, and what it changes: the one table of all methods.

A method that is not here is refused wherever callers are asked who they are; a test holds the table and the protos
together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from services.core.access.identity import Identity, Role
from services.core.errors import AtlasError, Reason

WORKERS = frozenset({"inference", "uncertainty", "merging"})
READERS = WORKERS | {"scheduler"}
NOBODY = frozenset[str]()


@dataclass(frozen=True)
class Rule:
    """What one method asks for."""

    role: Role
    """The least role of a person."""
    services: frozenset[str] = NOBODY
    """Services that may call it under their own certificate."""
    changes: str = ""
    """The request's field that names what the call changes, such as "parent"; "" for a call that changes no label and
    no campaign, which the audit log leaves out."""


def _read(services: frozenset[str] = NOBODY) -> Rule:
    return Rule(Role.VIEWER, services)


# Uploads are bytes without a meaning until a record names them; the record is what is audited.
_BYTES = Rule(Role.ANNOTATOR, WORKERS)


def _record(service: str) -> Rule:
    """A record that a service makes; an administrator may bring one from elsewhere."""
    return Rule(Role.ADMIN, frozenset({service}), "parent")


def _review() -> Rule:
    return Rule(Role.ANNOTATOR, changes="name")


def _rules() -> Mapping[str, Rule]:
    services = {
        "storage": {
            "CreateUpload": _BYTES,
            "GetUpload": _BYTES,
            "WriteUpload": _BYTES,
            "ReadObject": _read(WORKERS),
            "CreateVolume": Rule(Role.OPERATOR, changes="volume_id"),
            "GetVolume": _read(READERS),
            "ListVolumes": _read(READERS),
            "WithdrawVolume": Rule(Role.OPERATOR, changes="name"),
            "ListDuplicateGroups": _read(READERS),
            "ImportCase": Rule(Role.OPERATOR, changes="volume_id"),
            "CreatePrediction": _record("inference"),
            "GetPrediction": _read(READERS),
            "ListPredictions": _read(READERS),
            "CreateAttentionMap": _record("uncertainty"),
            "GetAttentionMap": _read(READERS),
            "ListAttentionMaps": _read(READERS),
            "CreateLabelVersion": _record("merging"),
            # Labels of a source take an operator; storage asks when it sees the origin.
            "ImportLabelVersion": Rule(Role.ANNOTATOR, changes="parent"),
            "GetLabelVersion": _read(READERS),
            "ListLabelVersions": _read(READERS),
            "ListModelUses": _read(READERS),
        },
        "inference": {
            "ListModels": _read(frozenset({"scheduler"})),
            "GetModel": _read(frozenset({"scheduler"})),
            "Predict": Rule(Role.OPERATOR, frozenset({"scheduler"})),
            "PromoteModel": Rule(Role.ADMIN, changes="name"),
            "RollbackModel": Rule(Role.ADMIN, changes="name"),
        },
        "uncertainty": {
            "ListProfiles": _read(frozenset({"scheduler"})),
            "Score": Rule(Role.OPERATOR, frozenset({"scheduler"})),
            "ListRules": _read(frozenset({"scheduler"})),
            "CheckLabels": _read(frozenset({"scheduler"})),
        },
        "merging": {
            "Compare": _read(frozenset({"scheduler"})),
            "Merge": Rule(Role.OPERATOR, frozenset({"scheduler"})),
        },
        "scheduler": {
            "CreateCampaign": Rule(Role.OPERATOR, changes="campaign_id"),
            "GetCampaign": _read(),
            "ListCampaigns": _read(),
            "WatchCampaign": _read(),
            "StartRound": Rule(Role.OPERATOR, changes="name"),
            "StartAudit": Rule(Role.OPERATOR, changes="name"),
            "GetCampaignReport": _read(),
            "CancelCampaign": Rule(Role.OPERATOR, changes="name"),
            "ListItems": _read(),
            "GetReview": _read(),
            "ListReviews": _read(),
            "ClaimReview": _review(),
            "RenewReview": _review(),
            "ReleaseReview": _review(),
            "SubmitReview": _review(),
            "StartTraining": Rule(Role.OPERATOR, changes="model"),
            "GetTraining": _read(),
            "ListTrainings": _read(),
            "WatchTraining": _read(),
            "CancelTraining": Rule(Role.OPERATOR, changes="name"),
        },
    }
    table = {
        f"/abdomenatlas.{service}.v1.{service.capitalize()}Service/{method}": rule
        for service, methods in services.items()
        for method, rule in methods.items()
    }
    table["/abdomenatlas.audit.v1.AuditService/ListAuditEntries"] = Rule(Role.ADMIN)
    # The contract is no secret, but it is told to nobody who has no token.
    table["/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"] = _read()
    return MappingProxyType(table)


RULES = _rules()
"""From "/abdomenatlas.storage.v1.StorageService/GetVolume" to its rule. Health checks are open and not here."""


def require_allowed(identity: Identity, method: str) -> None:
    """Raise PERMISSION_DENIED unless this person or service may call `method` ("/package.Service/Method")."""
    rule, short = RULES.get(method), method.rsplit(".", 1)[-1]
    if identity.is_service:
        if rule is None or identity.name not in rule.services:
            raise _denied(f"The service {identity.name} may not call {short}.", "Call it with a person's token.")
    elif rule is None or identity.role is None or identity.role < rule.role:
        needed = (rule.role if rule else Role.ADMIN).name.lower()
        have = identity.role.name.lower() if identity.role else "none"
        raise _denied(
            f"{short} takes the role {needed}, and yours is {have}.",
            "Ask whoever gives out roles at the identity provider.",
        )


def _denied(message: str, remedy: str) -> AtlasError:
    return AtlasError(Reason.PERMISSION_DENIED, message, field="authorization", remedy=remedy)

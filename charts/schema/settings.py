"""The services' own settings as values: read from their settings classes, so that a misspelt one is refused."""

from importlib import import_module
from typing import Annotated, Any

from pydantic import Field, SecretStr, create_model
from pydantic.fields import FieldInfo

from charts.schema.base import Values
from services.core.rpc.settings import ServiceSettings

# The chart sets these itself, from other values.
_DERIVED = {
    *("host", "port", "metrics_port", "mutual_port", "health_port", "insecure", "drain_seconds", "log_level"),
    *("executor_id", "objects", "triton", "storage", "inference", "uncertainty", "merging", "scheduler"),
    "model_repository",
}
_DERIVED_PREFIXES = ("tls_", "oidc_", "s3_", "metrics_token", "service_san", "triton_tls", "cluster_", "training_")


class Settings(Values):
    """Settings of one service, all optional."""


def settings_of(service: str) -> type[Settings]:
    """A model of the settings that may be given as values: each is optional and bounded as the service bounds it."""
    settings: type[ServiceSettings] = import_module(f"services.{service}.settings").Settings
    fields: dict[str, Any] = {
        name: (Annotated[field.annotation, *field.metadata], Field(default=None, description=_description(name, field)))
        for name, field in sorted(settings.model_fields.items())
        if not _is_derived(name, field)
    }
    return create_model(f"{service.title()}Settings", __base__=Settings, **fields)


def _is_derived(name: str, field: FieldInfo) -> bool:
    return name in _DERIVED or name.startswith(_DERIVED_PREFIXES) or field.annotation is SecretStr


def _description(name: str, field: FieldInfo) -> str:
    shared = ServiceSettings.model_fields.get(name)
    return " ".join((field.description or (shared and shared.description) or "").split())


StorageSettings: Any = settings_of("storage")
InferenceSettings: Any = settings_of("inference")
UncertaintySettings: Any = settings_of("uncertainty")
MergingSettings: Any = settings_of("merging")
SchedulerSettings: Any = settings_of("scheduler")

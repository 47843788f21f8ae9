"""The table of methods and roles is complete, and says of every call what it changes."""

from importlib import import_module
from pathlib import Path

import pytest
from google.protobuf.descriptor import MethodDescriptor

from services.core.access.identity import Identity, Role
from services.core.access.roles import RULES, require_allowed
from services.core.errors import AtlasError, Reason

PROTOS = Path(__file__).parents[2] / "protos"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
READS = ("Get", "List", "Read", "Watch", "Check", "Compare")
# They store bytes or start work whose records are audited where they are written: at storage.
WITHOUT_A_TRACE = {"CreateUpload", "WriteUpload", "Predict", "Score", "Merge"}


def methods() -> dict[str, MethodDescriptor]:
    """Every method of every proto."""
    found: dict[str, MethodDescriptor] = {}
    for path in PROTOS.rglob("*.proto"):
        module = import_module(str(path.relative_to(PROTOS).with_suffix("")).replace("/", ".") + "_pb2")
        for service in module.DESCRIPTOR.services_by_name.values():
            found |= {f"/{service.full_name}/{method.name}": method for method in service.methods}
    return found


METHODS = methods()


def test_every_method_of_the_contract_has_a_rule_and_no_rule_is_left_over() -> None:
    assert set(RULES) - {REFLECTION} == set(METHODS)


@pytest.mark.parametrize("path", sorted(METHODS))
def test_a_method_that_changes_something_says_what(path: str) -> None:
    """Its rule names a field of its request; a method that reads names none."""
    method, field = METHODS[path], RULES[path].changes
    if method.name.startswith(READS) or method.name in WITHOUT_A_TRACE:
        assert field == ""
    else:
        assert field in method.input_type.fields_by_name
        assert RULES[path].role > Role.VIEWER


@pytest.mark.parametrize("path", [*sorted(METHODS), REFLECTION])
def test_a_role_may_do_what_a_lower_one_may_and_none_may_nothing(path: str) -> None:
    least = RULES[path].role
    for role in Role:
        if role >= least:
            require_allowed(Identity("ann", role), path)
        else:
            with pytest.raises(AtlasError) as caught:
                require_allowed(Identity("ann", role), path)
            assert caught.value.reason == Reason.PERMISSION_DENIED
            assert least.name.lower() in caught.value.message
    with pytest.raises(AtlasError):
        require_allowed(Identity("ann", None), path)


def test_a_service_may_call_what_its_work_needs_and_no_more() -> None:
    prefix = "/abdomenatlas.storage.v1.StorageService/"
    records = {"inference": "CreatePrediction", "uncertainty": "CreateAttentionMap", "merging": "CreateLabelVersion"}
    for service in (*records, "scheduler", "storage"):
        for owner, record in records.items():
            if owner == service:
                require_allowed(Identity(service, is_service=True), prefix + record)
            else:
                with pytest.raises(AtlasError):
                    require_allowed(Identity(service, is_service=True), prefix + record)


def test_a_method_that_nobody_wrote_down_is_nobodys() -> None:
    for identity in (Identity("root", Role.ADMIN), Identity("merging", is_service=True)):
        with pytest.raises(AtlasError):
            require_allowed(identity, "/abdomenatlas.storage.v1.StorageService/DropEverything")

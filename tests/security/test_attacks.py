"""Ways to get further than one may: each is refused with the status that belongs to it."""

import ssl
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import grpc
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase as Told

from abdomenatlas.audit.v1 import audit_pb2
from abdomenatlas.audit.v1.audit_pb2_grpc import AuditServiceStub
from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.storage.v1.storage_pb2_grpc import StorageServiceStub
from tests.security.calls import list_volumes, refusal
from tests.security.conftest import Closed

Code = grpc.StatusCode


@pytest.mark.parametrize("roles", [(), ("viewer",), ("janitor", "VIEWER"), ("annotator",)])
def test_a_role_that_is_too_low_is_refused(storage: Closed, roles: tuple[str, ...]) -> None:
    stub = StorageServiceStub(storage.with_token(storage.issuer.token("ann", *roles)))
    request = pb.CreateVolumeRequest(volume_id="case", object="objects/" + 64 * "0")
    code, reason, message = refusal(lambda: stub.CreateVolume(request, timeout=10))
    assert (code, reason) == (Code.PERMISSION_DENIED, "PERMISSION_DENIED")
    assert "CreateVolume takes the role operator" in message


def test_a_stream_is_refused_before_its_first_message(storage: Closed) -> None:
    """Both ways: bytes in, of which none is taken, and bytes out."""
    stub = StorageServiceStub(storage.with_token(storage.issuer.token("ann", "viewer")))
    name = "uploads/" + 32 * "0"
    code, *_ = refusal(lambda: stub.WriteUpload(iter([pb.WriteUploadRequest(name=name)]), timeout=10))
    assert code == Code.PERMISSION_DENIED
    stranger = StorageServiceStub(storage.with_token(""))
    request = pb.ReadObjectRequest(name="objects/" + 64 * "0")
    code, *_ = refusal(lambda: next(stranger.ReadObject(request, timeout=10)))
    assert code == Code.UNAUTHENTICATED


def test_an_annotator_speaks_for_nobody_else(storage: Closed) -> None:
    """Neither as another reviewer nor as a source; an operator may bring labels of both."""

    def bring(name: str, role: str, author: str, origin: pb.Origin.ValueType) -> str:
        stub = StorageServiceStub(storage.with_token(storage.issuer.token(name, role)))
        request = pb.ImportLabelVersionRequest(parent="volumes/none", author=author, origin=origin)
        request.files.add(object="objects/" + 64 * "0", organ="liver")
        return refusal(lambda: stub.ImportLabelVersion(request, timeout=10))[1]

    assert bring("ann", "annotator", "bob", pb.ORIGIN_REVISION) == "PERMISSION_DENIED"
    assert bring("ann", "annotator", "ann", pb.ORIGIN_SOURCE) == "PERMISSION_DENIED"
    for name, role, author, origin in (
        ("ann", "annotator", "ann", pb.ORIGIN_REVISION),
        ("eve", "operator", "bob", pb.ORIGIN_REVISION),
        ("eve", "operator", "amos22", pb.ORIGIN_SOURCE),
    ):
        assert bring(name, role, author, origin) == "RESOURCE_NOT_FOUND"


def test_who_claims_to_be_a_service_in_the_metadata_is_believed_nothing(storage: Closed) -> None:
    channel = storage.with_token(storage.issuer.token("ann", "viewer"))
    metadata = (("x-atlas-on-behalf-of-bin", b"root"), ("x-forwarded-client-cert", "spiffe://abdomenatlas/merging"))
    request = pb.CreateVolumeRequest(volume_id="behalf")
    code, *_ = refusal(lambda: StorageServiceStub(channel).CreateVolume(request, metadata=metadata, timeout=10))
    assert code == Code.PERMISSION_DENIED


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "volumes/../../secret", "volumes/%2e%2e", "volumes/a/b", "volumes/.hidden", "volumes/a\0b"],
)
def test_a_name_that_leaves_its_folder_is_no_name(storage: Closed, name: str) -> None:
    stub = StorageServiceStub(storage.with_token(storage.issuer.token("eve", "admin")))
    object_name = name.replace("volumes/", "objects/")
    for call in (
        lambda: stub.GetVolume(pb.GetVolumeRequest(name=name), timeout=10),
        lambda: next(stub.ReadObject(pb.ReadObjectRequest(name=object_name), timeout=10)),
        lambda: stub.CreateVolume(pb.CreateVolumeRequest(volume_id=name, object=object_name), timeout=10),
        lambda: stub.GetUpload(pb.GetUploadRequest(name=name.replace("volumes/", "uploads/")), timeout=10),
    ):
        assert refusal(call)[:2] == (Code.INVALID_ARGUMENT, "NAME_INVALID")


def test_metadata_beyond_the_bound_is_refused(storage: Closed) -> None:
    channel = storage.with_token(storage.issuer.token("ann", "viewer"))
    metadata = (("x-heavy", "x" * 20_000),)
    assert refusal(lambda: list_volumes(channel, metadata=metadata))[0] == Code.RESOURCE_EXHAUSTED
    list_volumes(channel)


def test_a_message_beyond_the_bound_is_refused(storage: Closed) -> None:
    channel = storage.with_token(storage.issuer.token("ann", "viewer"))
    request = pb.ListVolumesRequest(dataset="x" * 5_000_000)
    assert refusal(lambda: StorageServiceStub(channel).ListVolumes(request, timeout=10))[0] == Code.RESOURCE_EXHAUSTED


def test_the_contract_is_told_to_nobody_without_a_token(storage: Closed) -> None:
    assert refusal(lambda: list(Told(storage.with_token("")).get_services()))[0] == Code.UNAUTHENTICATED
    known = storage.with_token(storage.issuer.token("ann", "viewer"))
    assert "abdomenatlas.storage.v1.StorageService" in Told(known).get_services()


def test_who_was_refused_stands_in_the_audit_log_and_no_secret_in_any_log(storage: Closed) -> None:
    mallory = storage.issuer.token("mallory", "viewer")
    request = pb.CreateVolumeRequest(volume_id="forbidden")
    refusal(lambda: StorageServiceStub(storage.with_token(mallory)).CreateVolume(request, timeout=10))
    reader = AuditServiceStub(storage.with_token(storage.issuer.token("root", "admin")))
    found = reader.ListAuditEntries(audit_pb2.ListAuditEntriesRequest(page_size=1000), timeout=10).entries
    (entry,) = [e for e in found if e.actor == "mallory"]
    assert (entry.method, entry.resource, entry.outcome) == (
        "StorageService/CreateVolume",
        "forbidden",
        "PERMISSION_DENIED",
    )
    assert (entry.role, entry.peer, entry.actor_kind) == ("viewer", "127.0.0.1", audit_pb2.AuditEntry.ACTOR_KIND_PERSON)
    log = storage.service.log.read_text()
    assert mallory not in log
    assert mallory.split(".")[2] not in log
    assert "metrics-word" not in log


def test_the_metrics_take_a_token_and_tls(storage: Closed) -> None:
    refusal(lambda: list_volumes(storage.with_token("")))
    context = ssl.create_default_context(cafile=storage.authority.ca)
    page = f"https://127.0.0.1:{storage.service.metrics_port}/metrics"
    for headers in ({}, {"Authorization": "Bearer guess"}):
        with pytest.raises(HTTPError) as caught:
            urlopen(Request(page, headers=headers), context=context, timeout=10)
        assert caught.value.code == 401
    with urlopen(Request(page, headers={"Authorization": "Bearer metrics-word"}), context=context) as answer:
        assert b'atlas_rpc_calls_total{method="StorageService/ListVolumes",reason="UNAUTHENTICATED"}' in answer.read()
    with pytest.raises((URLError, ConnectionError)):
        urlopen(page.replace("https", "http"), timeout=10)

"""Who may call with which certificate, and what is not encrypted."""

from collections.abc import Callable
from dataclasses import replace

import grpc
import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.storage.v1.storage_pb2_grpc import StorageServiceStub
from services.core.errors import AtlasError, Reason
from services.core.rpc.credentials import Credentials
from tests.security.calls import list_volumes, refusal
from tests.security.conftest import Closed
from tests.security.pki import DAY, Authority

Code = grpc.StatusCode


def test_a_service_does_its_own_work_only(storage: Closed) -> None:
    """The certificate of merging reads, and records no prediction; that of inference does."""
    merging, inference = (StorageServiceStub(storage.as_service(name)) for name in ("merging", "inference"))
    request = pb.CreatePredictionRequest(parent="volumes/none", prediction_id=32 * "0")
    merging.ListVolumes(pb.ListVolumesRequest())
    with pytest.raises(AtlasError) as caught:
        merging.CreatePrediction(request)
    assert caught.value.reason == Reason.PERMISSION_DENIED
    with pytest.raises(AtlasError) as caught:
        inference.CreatePrediction(request)
    assert caught.value.reason != Reason.PERMISSION_DENIED


@pytest.mark.parametrize(
    "names",
    [("spiffe://abdomenatlas/merging.evil",), ("spiffe://evil/merging",), (),
     ("spiffe://abdomenatlas/merging", "spiffe://abdomenatlas/inference")],
)  # fmt: skip
def test_a_certificate_that_names_no_service_or_two_is_nobodys(storage: Closed, names: tuple[str, ...]) -> None:
    with pytest.raises(AtlasError) as caught:
        list_volumes(storage.as_service("odd", *(names or ("urn:none",))))
    assert caught.value.reason == Reason.UNAUTHENTICATED


def test_the_mutual_port_takes_no_certificate_but_that_of_its_authorities(storage: Closed) -> None:
    """None, one of another authority with the right name in it, and one that expired."""
    evil = Authority(storage.authority.folder / "evil").service("merging")
    old = storage.authority.issue("old", "spiffe://abdomenatlas/merging", age=-DAY)
    for pair in (None, evil, old):
        with pytest.raises(AtlasError) as caught:
            list_volumes(storage.over(storage.mutual, storage.authority.credentials(pair)))
        assert caught.value.reason == Reason.DEPENDENCY_UNAVAILABLE


def test_a_service_certificate_opens_nothing_at_the_port_for_people(storage: Closed) -> None:
    pair = storage.authority.service("merging")
    with pytest.raises(AtlasError) as caught:
        list_volumes(storage.over(storage.service.address, storage.authority.credentials(pair)))
    assert caught.value.reason == Reason.UNAUTHENTICATED


def test_a_name_that_the_certificate_holds_stands_in_for_an_address_that_it_does_not(
    storage: Closed, closed_services: Callable[..., Closed]
) -> None:
    """As behind a forwarded port; without it, and under the name of another service, nobody is trusted."""
    authority = storage.authority
    pair = authority.issue("named", "spiffe://abdomenatlas/storage", dns=("atlas-storage.imaging.svc",))
    closed = closed_services("storage", tls_cert=pair.cert, tls_key=pair.key)
    (authority.folder / "token").write_text(closed.issuer.token("ann", "viewer"))
    names = Credentials(authority.ca, token_file=authority.folder / "token", server_name="atlas-{service}.imaging.svc")
    list_volumes(closed.over(closed.service.address, names, "storage"))
    with pytest.raises(AtlasError) as caught:
        list_volumes(closed.over(closed.service.address, names, "scheduler"))
    assert caught.value.reason == Reason.DEPENDENCY_UNAVAILABLE
    assert "its certificate is for another name" in str(caught.value)
    assert "--server-name" in caught.value.remedy
    # gRPC may tell of the other address of this name instead, at which nobody listens.
    local = closed.service.address.replace("127.0.0.1", "localhost")
    list_volumes(closed.over(local, names, "storage"))
    with pytest.raises(AtlasError) as caught:
        list_volumes(closed.over(local, replace(names, server_name=""), "storage"))
    assert caught.value.reason == Reason.DEPENDENCY_UNAVAILABLE


def test_plain_text_gets_no_answer(storage: Closed) -> None:
    with grpc.insecure_channel(storage.service.address) as channel:
        assert refusal(lambda: list_volumes(channel))[0] == Code.UNAVAILABLE


def test_who_does_not_agree_on_tls_is_told_what_is_wrong(storage: Closed) -> None:
    """The client does not trust the server, shows no certificate, speaks no TLS, or speaks it where nobody does."""
    authority = storage.authority
    evil = Authority(authority.folder / "other")
    health = f"127.0.0.1:{storage.health_port}"
    for address, credentials, words in (
        (storage.service.address, Credentials(evil.ca), "comes from no authority that is trusted here"),
        (storage.mutual, Credentials(authority.ca), "a client certificate of its authorities"),
        (storage.service.address, Credentials(), "Does it want TLS"),
        (health, Credentials(authority.ca), "it speaks no TLS"),
    ):
        with pytest.raises(AtlasError) as caught:
            list_volumes(storage.over(address, credentials))
        assert caught.value.reason == Reason.DEPENDENCY_UNAVAILABLE
        assert words in str(caught.value)

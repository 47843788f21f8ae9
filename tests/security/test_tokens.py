"""Bad tokens, tried on a running service, and good ones."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable

import grpc
import pytest

from services.core.errors import AtlasError
from services.core.rpc.client import connect
from services.core.rpc.credentials import Credentials
from tests.components.processes import wait_until
from tests.security.calls import list_volumes, refusal
from tests.security.conftest import Closed
from tests.security.issuer import Issuer

Code = grpc.StatusCode


def unsigned(issuer: Issuer) -> str:
    """A token that says `alg: none` and carries no signature."""
    _, claims, _ = issuer.token("mallory", "admin").split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": "first"}).encode()).rstrip(b"=").decode()
    return f"{header}.{claims}."


def signed_with_the_public_key(issuer: Issuer) -> str:
    """A token that is signed with HMAC and what everybody knows, the public key, as its secret."""
    _, claims, _ = issuer.token("mallory", "admin").split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "first"}).encode()).rstrip(b"=").decode()
    digest = hmac.new(issuer.public_pem(), f"{header}.{claims}".encode(), hashlib.sha256).digest()
    return f"{header}.{claims}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def altered(issuer: Issuer) -> str:
    """A viewer's token in which the role was changed after it was signed."""
    header, claims, signature = issuer.token("mallory", "viewer").split(".")
    changed = base64.urlsafe_b64decode(claims + "==").replace(b"viewer", b"admin")
    return f"{header}.{base64.urlsafe_b64encode(changed).rstrip(b'=').decode()}.{signature}"


BAD_TOKENS: dict[str, tuple[Callable[[Issuer], str], str]] = {
    "none": (lambda _: "", "carries no token"),
    "expired": (lambda issuer: issuer.token("ann", "admin", exp=int(time.time()) - 120), "expired"),
    "not valid yet": (lambda issuer: issuer.token("ann", "admin", nbf=int(time.time()) + 600), "not valid yet"),
    "without an expiry": (lambda issuer: issuer.token("ann", "admin", exp=None), "lacks a claim"),
    "without a subject": (lambda issuer: issuer.token("ann", "admin", sub=None), "lacks a claim"),
    "wrong audience": (lambda issuer: issuer.token("ann", "admin", aud="another product"), "another audience"),
    "wrong issuer": (lambda issuer: issuer.token("ann", "admin", iss="https://evil.example.org"), "another issuer"),
    "alg none": (unsigned, "algorithm"),
    "HS256 with the public key": (signed_with_the_public_key, "algorithm"),
    "HS256 with a published secret": (
        lambda issuer: issuer.token(
            "ann", "admin", kid="shared", key=b"secret-secret-secret-secret-secret", algorithm="HS256"
        ),
        "does not publish",
    ),
    "key of another use": (lambda issuer: issuer.token("ann", "admin", kid="for-encryption"), "does not publish"),
    "unknown key": (lambda issuer: issuer.token("ann", "admin", kid="mine"), "does not publish"),
    "somebody's own key": (
        lambda issuer: issuer.token("ann", "admin", key=Issuer(issuer.jwks.with_name("evil.json")).first),
        "signature",
    ),
    "altered": (altered, "signature"),
    "no token at all": (lambda _: "let-me-in", "not a JSON Web Token"),
    "a subject of two lines": (lambda issuer: issuer.token("ann\nadmin", "admin"), "subject"),
}


@pytest.mark.parametrize("attack", BAD_TOKENS)
def test_a_bad_token_is_refused_with_what_is_wrong_with_it(storage: Closed, attack: str) -> None:
    make, words = BAD_TOKENS[attack]
    code, reason, message = refusal(lambda: list_volumes(storage.with_token(make(storage.issuer))))
    assert (code, reason) == (Code.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert words in message


@pytest.mark.parametrize(
    ("kid", "algorithm"), [("first", "RS256"), ("first", "RS512"), ("first", "PS256"), ("second", "ES256")]
)
def test_a_good_token_opens(storage: Closed, kid: str, algorithm: str) -> None:
    token = storage.issuer.token("ann", "viewer", "something-else", kid=kid, algorithm=algorithm)
    list_volumes(storage.with_token(token))


def test_an_expiry_within_the_leeway_of_two_clocks_passes(storage: Closed) -> None:
    list_volumes(storage.with_token(storage.issuer.token("ann", "viewer", exp=int(time.time()) - 5)))


@pytest.mark.parametrize("value", ["Basic YW5uOmFubg==", "Bearer", "a-token-without-its-scheme"])
def test_something_other_than_a_bearer_is_refused(storage: Closed, value: str) -> None:
    channel = storage.with_token("")
    code, reason, _ = refusal(lambda: list_volumes(channel, metadata=(("authorization", value),)))
    assert (code, reason) == (Code.UNAUTHENTICATED, "UNAUTHENTICATED")


def test_a_token_is_not_sent_to_another_machine_without_tls(storage: Closed) -> None:
    token = storage.authority.folder / "token"
    token.write_text(storage.issuer.token("ann", "viewer"))
    with pytest.raises(AtlasError) as caught:
        connect("storage.example.org:50051", Credentials(token_file=token))
    assert caught.value.field == str(token)


def test_the_issuers_keys_may_change_while_the_service_runs(storage: Closed) -> None:
    """A new key is found when a token names it; the old one is gone then."""
    kept = storage.issuer.jwks.read_text()
    new = Issuer(storage.issuer.jwks)
    try:
        wait_until(lambda: _opens(storage, new.token("ann", "viewer")), "the new key", 60)
        assert not _opens(storage, storage.issuer.token("ann", "viewer"))
    finally:
        storage.issuer.jwks.write_text(kept)
        wait_until(lambda: _opens(storage, storage.issuer.token("ann", "viewer")), "the old key", 60)


def _opens(storage: Closed, token: str) -> bool:
    try:
        list_volumes(storage.with_token(token))
    except grpc.RpcError:
        return False
    return True

"""An issuer's public keys (JWKS), from its URL or from a file, and how they are kept fresh."""

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request, build_opener

import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from services.core.errors import AtlasError, Reason

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
TIMEOUT_SECONDS = 5.0
MAX_BYTES = 1 << 20
FRESH_SECONDS = {"url": 300.0, "file": 5.0}
"""How long keys are used before they are looked at again."""
LEAST_SECONDS = {"url": 10.0, "file": 1.0}
"""How often keys are looked for at most, whatever unknown keys the tokens name."""
STALE_SECONDS = 24 * 3600.0
"""How long keys are used while the issuer does not answer."""
LEAST_RSA_BITS = 2048
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}

log = structlog.get_logger()


@dataclass(frozen=True)
class Key:
    """A public key and the signature algorithms that it may verify: never a symmetric one, never none."""

    public: PublicKey
    algorithms: tuple[str, ...]


class Keys:
    """The keys of one issuer. `source` is an https URL or the path of a file; `ca` are the URL's authorities."""

    def __init__(self, source: str, ca: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        kind = "url" if source.startswith(("https://", "http://")) else "file"
        self._read = _url_reader(source, ca) if kind == "url" else Path(source).read_bytes
        self._fresh, self._least = FRESH_SECONDS[kind], LEAST_SECONDS[kind]
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._loaded = self._asked = float("-inf")
        self._lock = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None

    async def find(self, kid: str) -> Key:
        """The key of that id; "" finds the only one there is.

        Raises UNAUTHENTICATED if the issuer has no such key, DEPENDENCY_UNAVAILABLE if it does not tell its keys.
        """
        known = self._get(kid)
        if known is None:
            await self._refresh()
            known = self._get(kid)
        elif self._clock() - self._loaded > self._fresh:
            # Nobody waits for an issuer whose keys are known.
            self._refreshing = asyncio.create_task(self._refresh())
        if self._clock() - self._loaded > STALE_SECONDS:
            raise AtlasError(
                Reason.DEPENDENCY_UNAVAILABLE,
                "The issuer's keys cannot be read, so no token can be checked.",
                field="authorization",
                remedy="Is the identity provider reachable from here?",
            )
        if known is None:
            raise AtlasError(
                Reason.UNAUTHENTICATED,
                "The token is signed with a key that its issuer does not publish.",
                field="authorization",
                remedy="Get a token from the identity provider of this installation.",
            )
        return known

    def _get(self, kid: str) -> Key | None:
        if not kid and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    async def _refresh(self) -> None:
        async with self._lock:
            if self._clock() - self._asked < self._least:
                return
            self._asked = self._clock()
            try:
                self._keys = parse(await asyncio.to_thread(self._read))
                self._loaded = self._clock()
            except (OSError, HTTPException, ValueError, RecursionError) as error:
                log.warning("the issuer's keys cannot be read", why=type(error).__name__, known=len(self._keys))


def parse(data: bytes) -> dict[str, Key]:
    """Key id to key, of those that verify signatures. Raises ValueError or RecursionError if this is no JWKS."""
    found = json.loads(data)
    if not isinstance(found, dict) or not isinstance(found.get("keys"), list):
        raise ValueError("not a JWKS")
    keys = ((str(entry.get("kid", "")), _key(entry)) for entry in found["keys"] if isinstance(entry, dict))
    return {kid: key for kid, key in keys if key}


def _key(entry: dict[str, Any]) -> Key | None:
    if entry.get("use", "sig") != "sig" or entry.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    try:
        # Without the private part, should somebody have published it.
        public = PyJWK({name: value for name, value in entry.items() if name != "d"}).key
    except (PyJWTError, TypeError):
        return None
    algorithms: tuple[str, ...] = ()
    if isinstance(public, RSAPublicKey) and public.key_size >= LEAST_RSA_BITS:
        algorithms = _RSA
    elif isinstance(public, EllipticCurvePublicKey) and public.curve.name in _CURVES:
        algorithms = (_CURVES[public.curve.name],)
    elif isinstance(public, Ed25519PublicKey):
        algorithms = ("EdDSA",)
    if declared := entry.get("alg"):
        algorithms = tuple(a for a in algorithms if a == declared)
    return Key(public, algorithms) if algorithms else None


def _url_reader(url: str, ca: Path | None) -> Callable[[], bytes]:
    def read() -> bytes:
        # Made each time, so that renewed authorities are seen.
        context = ssl.create_default_context(cafile=ca)
        opener: OpenerDirector = build_opener(HTTPSHandler(context=context), _NoRedirects())
        request = Request(url, headers={"Accept": "application/json"})
        with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            data: bytes = response.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError("a JWKS of more than a mebibyte")
        return data

    return read


class _NoRedirects(HTTPRedirectHandler):
    """The keys come from where the settings say, from nowhere else."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow none; the opener then raises HTTPError."""

"""The guard of a server: who calls, and may they. It knows no gRPC, only metadata and certificates."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from services.core.access.identity import ANYONE, Identity
from services.core.access.roles import require_allowed
from services.core.access.tokens import LONGEST_NAME, Tokens
from services.core.errors import AtlasError, Reason

AUTHORIZATION_KEY = "authorization"
BEHALF_KEY = "x-atlas-on-behalf-of-bin"
SERVICES = ("storage", "inference", "uncertainty", "merging", "scheduler")
_SCHEME = "bearer "


@dataclass(frozen=True)
class Guard:
    """How callers say who they are: a token (`tokens`), a client certificate (`service_san`), or either.

    `service_san` is the subject alternative name (a URI or a DNS name) that a service's certificate carries, with
    "{service}" in place of the service's name. A guard with neither lets everybody in, as `ANYONE`.
    """

    tokens: Tokens | None = None
    service_san: str = ""

    @property
    def asks(self) -> bool:
        """Whether callers are asked at all."""
        return bool(self.tokens or self.service_san)

    async def identify(self, metadata: Mapping[str, str | bytes], sans: Iterable[bytes]) -> Identity:
        """Whoever calls, by the metadata of the call and the names in the client's verified certificate.

        A token counts before a certificate. Raises UNAUTHENTICATED, or DEPENDENCY_UNAVAILABLE if the issuer's keys
        cannot be had.
        """
        if not self.asks:
            return ANYONE
        given = metadata.get(AUTHORIZATION_KEY)
        if given is not None:
            return await self._person(given)
        if service := self._service(sans):
            return replace(service, behalf_of=_text(metadata.get(BEHALF_KEY, b"")))
        raise _unauthenticated("The call carries no token.")

    def require(self, identity: Identity, method: str) -> None:
        """Raise PERMISSION_DENIED unless `identity` may call `method`."""
        if self.asks:
            require_allowed(identity, method)

    async def _person(self, given: str | bytes) -> Identity:
        if not isinstance(given, str) or given[: len(_SCHEME)].lower() != _SCHEME:
            raise _unauthenticated("The metadata `authorization` is not a bearer token.")
        if self.tokens is None:
            raise _unauthenticated("This service takes no tokens: no issuer is configured.")
        return await self.tokens.identify(given[len(_SCHEME) :].strip())

    def _service(self, sans: Iterable[bytes]) -> Identity | None:
        if not self.service_san:
            return None
        names = {san.decode(errors="replace") for san in sans}
        found = [name for name in SERVICES if self.service_san.replace("{service}", name) in names]
        # A certificate that names two services names none.
        return Identity(found[0], is_service=True) if len(found) == 1 else None


def _text(value: str | bytes) -> str:
    text = value if isinstance(value, str) else value.decode(errors="replace")
    return text if len(text) <= LONGEST_NAME and text.isprintable() else ""


def _unauthenticated(message: str) -> AtlasError:
    return AtlasError(
        Reason.UNAUTHENTICATED,
        message,
        field=AUTHORIZATION_KEY,
        remedy='Send "authorization: Bearer <token>" with a token of the identity provider, such as with '
        "`atlas --token-file`.",
    )

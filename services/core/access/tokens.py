"""Tokens: JSON Web Tokens of one OIDC issuer, checked in full before anything in them is believed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from jwt import exceptions

from services.core.access.identity import Identity, Role
from services.core.access.keys import Keys
from services.core.errors import AtlasError, Reason

LEEWAY_SECONDS = 30
"""How far two clocks may be apart."""
LONGEST_NAME = 128
_REMEDY = "Get a new token from the identity provider of this installation."
_REFUSALS: Mapping[type[Exception], str] = {
    exceptions.ExpiredSignatureError: "The token expired.",
    exceptions.ImmatureSignatureError: "The token is not valid yet.",
    exceptions.InvalidAudienceError: "The token was made for another audience.",
    exceptions.InvalidIssuerError: "The token comes from another issuer.",
    exceptions.MissingRequiredClaimError: "The token lacks a claim that it must have (exp, iss, aud or the subject).",
    exceptions.InvalidAlgorithmError: "The token is signed with an algorithm that its key does not allow.",
    exceptions.InvalidSignatureError: "The token's signature is not that of its issuer.",
}


@dataclass(frozen=True)
class Tokens:
    """What makes a token good: its issuer, for whom it is, and where in it the subject and the roles stand.

    `role_claim` may be a path such as "realm_access.roles"; the claim is a text or a list of texts, of which the
    highest role counts.
    """

    issuer: str
    audience: str
    keys: Keys
    role_claim: str = "roles"
    subject_claim: str = "sub"

    async def identify(self, token: str) -> Identity:
        """The person whom the token names. Raises UNAUTHENTICATED, or DEPENDENCY_UNAVAILABLE without keys.

        A person without any of the product's roles is known, and may do nothing.
        """
        try:
            header = jwt.get_unverified_header(token)
        except exceptions.PyJWTError as error:
            raise _refused("This is not a JSON Web Token.") from error
        key = await self.keys.find(str(header.get("kid", "")))
        try:
            claims = jwt.decode(
                token,
                key=key.public,
                algorithms=list(key.algorithms),
                audience=self.audience,
                issuer=self.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", self.subject_claim]},
            )
        except exceptions.PyJWTError as error:
            # Its own message may quote the token.
            text = next((t for kind, t in _REFUSALS.items() if isinstance(error, kind)), "The token is not valid.")
            raise _refused(text) from error
        return Identity(_subject(claims, self.subject_claim), _role(claims, self.role_claim))


def _subject(claims: Mapping[str, Any], name: str) -> str:
    subject = claims[name]
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_NAME or not subject.isprintable():
        raise _refused(f"The token's subject is not one line of at most {LONGEST_NAME} characters.")
    return subject


def _role(claims: Mapping[str, Any], path: str) -> Role | None:
    found: Any = claims
    # A claim such as "https://example.org/roles" has dots of its own.
    for step in (path,) if path in claims else path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    given = {found} if isinstance(found, str) else set(map(str, found)) if isinstance(found, list) else set()
    return max((role for role in Role if role.name.lower() in given), default=None)


def _refused(message: str) -> AtlasError:
    return AtlasError(Reason.UNAUTHENTICATED, message, field="authorization", remedy=_REMEDY)

"""An identity provider for tests: keys, the JWKS that publishes them, and tokens good and bad."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE = "https://id.example.org", "abdomenatlas"


@dataclass
class Issuer:
    """Signs with an RSA key "first" and an EC key "second"; both are in the JWKS file."""

    jwks: Path
    first: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    second: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.publish()

    def publish(self) -> None:
        """Write the JWKS file."""
        self.jwks.write_text(json.dumps({"keys": self.keys()}))

    def keys(self) -> list[dict[str, Any]]:
        """The public keys, and entries that a reader must leave alone."""
        first: dict[str, Any] = json.loads(RSAAlgorithm.to_jwk(self.first.public_key()))
        second: dict[str, Any] = json.loads(ECAlgorithm.to_jwk(self.second.public_key()))
        small = json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key()))
        return [
            {**first, "kid": "first", "use": "sig"},
            {**second, "kid": "second", "use": "sig"},
            {**first, "kid": "for-encryption", "use": "enc"},
            {**small, "kid": "small"},
            {"kty": "oct", "kid": "shared", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"},
            {"kty": "unheard-of", "kid": "odd"},
        ]

    def token(
        self,
        name: str = "ann",
        *roles: str,
        kid: str = "first",
        key: Any = None,
        algorithm: str = "RS256",
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A token of `name`; claims that are None are left out."""
        given = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": name,
            "exp": int(time.time()) + 600,
            "roles": list(roles),
            **claims,
        }
        chosen = key if key is not None else self.second if kid == "second" else self.first
        kept = {claim: value for claim, value in given.items() if value is not None}
        return jwt.encode(kept, chosen, algorithm, {"kid": kid, **(headers or {})})

    def public_pem(self) -> bytes:
        """The RSA key as everybody may know it."""
        return self.first.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

"""Settings of TLS, tokens and certificates, the same for every service."""

from ipaddress import ip_address
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class SecuritySettings(BaseSettings):
    """Who may call, and how calls are encrypted; docs/security.md tells how it fits together.

    Files are PEM, and are read again when they change.
    """

    model_config = SettingsConfigDict(
        frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True, env_ignore_empty=True
    )

    host: str = "127.0.0.1"
    """Address to listen on, for gRPC and metrics."""
    insecure: bool = False
    """Allow to listen off loopback without TLS and authentication, behind a proxy that does both."""
    tls_cert: Path | None = None
    """Certificate chain of this service: as a server, and as a client of the other services."""
    tls_key: Path | None = None
    """Its private key, not encrypted."""
    tls_ca: Path | None = None
    """Authorities of the other services' certificates. With it, calls to them go over TLS."""
    tls_client_ca: Path | None = None
    """Authorities of the certificates that services show at `mutual_port`: authorities of this installation alone."""
    mutual_port: int | None = Field(None, ge=0, le=65535)
    """TCP port for gRPC with mutual TLS, for calls between services; open if there is a `tls_client_ca`. 100 above
    `port` by default."""
    service_san: str = Field("spiffe://abdomenatlas/{service}", pattern=r"\{service\}")
    """The subject alternative name, a URI or a DNS name, by which a certificate is that of a service; "{service}"
    stands for storage, inference, uncertainty, merging or scheduler."""
    oidc_issuer: str = ""
    """Issuer of the tokens that people bring, as in their claim "iss". With it, every call needs a token."""
    oidc_audience: str = ""
    """Audience that the tokens must name."""
    oidc_jwks: str = ""
    """Where the issuer's public keys are: an https URL, or a file, which may be replaced at any time."""
    oidc_ca: Path | None = None
    """Authorities of that URL's certificate; the machine's own by default."""
    oidc_role_claim: str = "roles"
    """Claim that holds viewer, annotator, operator or admin, or a list with some of them; a path such as
    "realm_access.roles" leads into nested claims."""
    oidc_subject_claim: str = "sub"
    """Claim that names the person in reviews and in the audit log, such as "preferred_username"."""
    metrics_token: SecretStr = SecretStr("")
    """Bearer token that whoever reads the metrics must bring. Required off loopback."""

    @property
    def is_encrypted(self) -> bool:
        """Whether this service's ports speak TLS."""
        return self.tls_cert is not None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("TLS_CERT and TLS_KEY belong together: one of them is missing")
        if self.tls_client_ca and not self.tls_cert:
            raise ValueError("TLS_CLIENT_CA asks others for certificates and needs TLS_CERT and TLS_KEY")
        oidc = {"ISSUER": self.oidc_issuer, "AUDIENCE": self.oidc_audience, "JWKS": self.oidc_jwks}
        if any(oidc.values()) and not all(oidc.values()):
            missing = ", ".join(f"OIDC_{name}" for name, value in oidc.items() if not value)
            raise ValueError(f"tokens need OIDC_ISSUER, OIDC_AUDIENCE and OIDC_JWKS; missing: {missing}")
        url = urlsplit(self.oidc_jwks)
        if url.scheme == "http" and not is_loopback(url.hostname or ""):
            raise ValueError("OIDC_JWKS must be an https URL: whoever changes the keys on their way may sign tokens")
        return self

    @model_validator(mode="after")
    def _closed_by_default(self) -> Self:
        if self.insecure or is_loopback(self.host):
            return self
        missing = []
        if not self.tls_cert:
            missing.append("TLS (TLS_CERT and TLS_KEY)")
        if not (self.oidc_issuer or self.tls_client_ca):
            missing.append("authentication (OIDC_ISSUER, OIDC_AUDIENCE and OIDC_JWKS, or TLS_CLIENT_CA)")
        if not self.metrics_token.get_secret_value():
            missing.append("a token for the metrics (METRICS_TOKEN or METRICS_TOKEN_FILE)")
        if missing:
            raise ValueError(
                f"refusing to listen on {self.host}, which is not loopback, without {' and '.join(missing)}; "
                "set INSECURE=true under this service's prefix if something in front of it does both"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

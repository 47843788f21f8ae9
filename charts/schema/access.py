"""Who gets in: certificates, tokens, the network, and the ways from outside."""

from typing import Literal

from pydantic import Field

from charts.schema.base import KeyOf, Kubernetes, Name, Port, Texts, Values


class Issuer(Values):
    """Issuer of cert-manager."""

    name: Name = ""
    """Its name."""
    kind: Literal["Issuer", "ClusterIssuer"] = "Issuer"
    """Whether it belongs to the namespace or to the cluster."""


class ExistingCertificates(Values):
    """Secrets of certificates that are there already, each with tls.crt, tls.key and ca.crt."""

    storage: Name = ""
    """Secret of the storage service."""
    inference: Name = ""
    """Secret of the inference service."""
    uncertainty: Name = ""
    """Secret of the uncertainty service."""
    merging: Name = ""
    """Secret of the merging service."""
    scheduler: Name = ""
    """Secret of the scheduler."""
    triton: Name = ""
    """Secret of Triton, which reads it only at its start: some minutes after it changed, its pods start again."""


class Tls(Values):
    """Certificates of the services: each has one, as server and as client of the others, from one authority."""

    mode: Literal["certManager", "existing", "none"] = "certManager"
    """"certManager": made and renewed by cert-manager. "existing": `existingSecrets`. "none": only with `insecure`."""
    issuer: Issuer = Issuer()
    """Issuer of cert-manager, whose authority (ca.crt) should sign for this installation alone."""
    duration: str = Field("2160h", pattern=r"^[0-9]+h$")
    """How long a certificate of cert-manager holds."""
    serviceSan: str = Field("spiffe://abdomenatlas/{service}", pattern=r"^[^{}]*\{service\}[^{}]*$")
    """URI or DNS name in a certificate that says which service it belongs to; "{service}" stands for its name."""
    existingSecrets: ExistingCertificates = ExistingCertificates()
    """Certificates that are there already; docs/install.md says which names must be in them."""


class Auth(Values):
    """Tokens of people and other systems: JWT of any OpenID Connect issuer."""

    issuer: str = ""
    """Exact `iss` of the tokens."""
    audience: str = ""
    """Exact `aud` of the tokens."""
    jwksUrl: str = Field("", pattern=r"^(https://.+)?$")
    """Where the issuer publishes its keys."""
    jwks: KeyOf = KeyOf(key="jwks.json")
    """ConfigMap with the issuer's keys, for sites whose pods do not reach the issuer."""
    caBundle: KeyOf = KeyOf(key="ca.crt")
    """ConfigMap with the authorities that the issuer's certificate may come from; the image's own by default."""
    roleClaim: str = Field("roles", min_length=1)
    """Claim that holds the roles viewer, annotator, operator or admin; dots lead into objects: realm_access.roles."""
    subjectClaim: str = Field("sub", min_length=1)
    """Claim whose value reviews and the audit log show."""


class Egress(Values):
    """An address outside that some pods may call."""

    to: list[Kubernetes] = Field(default_factory=list)
    """Peers in NetworkPolicy's own form, such as ipBlock; any address if empty."""
    ports: list[Port]
    """TCP ports."""


class NetworkPolicy(Values):
    """Every component accepts and makes only the connections that it needs."""

    enabled: bool = True
    """Whether the policies are made; the cluster's network must enforce them."""
    clients: list[Kubernetes] = Field(default_factory=list)
    """Who may call the services with a token: peers in NetworkPolicy's own form, such as the gateway's namespace."""
    monitoring: list[Kubernetes] = Field(default_factory=list)
    """Who may read metrics: peers in NetworkPolicy's own form, such as Prometheus' namespace."""
    dns: list[Kubernetes] = Field(
        [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]
    )
    """Where names are resolved (port 53)."""
    postgresql: Egress = Egress(ports=[5432])
    """Where PostgreSQL is."""
    s3: Egress = Egress(ports=[443])
    """Where the S3 server is."""
    issuer: Egress = Egress(ports=[443])
    """Where the keys of the token issuer are; used only with `auth.jwksUrl`."""
    kubernetesApi: Egress = Egress(ports=[443, 6443])
    """Where the API of Kubernetes is; used only where the scheduler calls it."""


class Gateway(Values):
    """A GRPCRoute of the Gateway API."""

    enabled: bool = False
    """Whether there is one."""
    parentRefs: list[Kubernetes] = Field(default_factory=list)
    """The gateways it belongs to, in the Gateway API's own form."""
    hostnames: list[str] = Field(default_factory=list)
    """Host names under which the services are reached."""
    backendCa: Name = ""
    """ConfigMap (ca.crt) with the authority of the services' certificates, for a BackendTLSPolicy; none if empty."""


class Ingress(Values):
    """An Ingress, for clusters without the Gateway API; the audit logs cannot be reached through it."""

    enabled: bool = False
    """Whether there is one."""
    className: Name = ""
    """Class of the controller."""
    host: str = ""
    """Host name under which the services are reached."""
    tlsSecret: Name = ""
    """Secret with the certificate for that name."""
    annotations: Texts = Field(default_factory=dict)
    """What the controller must be told, above all that the services speak gRPC over TLS."""


class Expose(Values):
    """The way in from outside the cluster; there is none by default."""

    gateway: Gateway = Gateway()
    """By the Gateway API."""
    ingress: Ingress = Ingress()
    """By an Ingress."""

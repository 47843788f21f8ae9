"""A certificate authority for tests: certificates of services, of strangers, renewed and expired ones."""

import datetime as dt
import ipaddress
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from services.core.rpc.credentials import Credentials

DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    cert: Path
    key: Path

    def write(self, pair: "tuple[bytes, bytes]") -> None:
        """Replace both, one after the other as an operator would, each in one step."""
        for path, data in zip((self.key, self.cert), reversed(pair), strict=True):
            part = path.with_suffix(".part")
            part.write_bytes(data)
            part.replace(path)


@dataclass(frozen=True)
class Authority:
    """Issues certificates into `folder`; its own lies there as ca.pem."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    # Two authorities of one name could not be told apart in a bundle.
    name: str = field(default_factory=lambda: f"authority {secrets.token_hex(4)}")

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        own = _builder(self.name, self.name, self.key, DAY).add_extension(constraints, critical=True)
        self.ca.write_bytes(own.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))

    @property
    def ca(self) -> Path:
        """Its own certificate."""
        return self.folder / "ca.pem"

    def make(self, *uris: str, dns: tuple[str, ...] = ("localhost",), age: dt.timedelta = DAY) -> tuple[bytes, bytes]:
        """Certificate and key for this machine, with `uris` as further names; a negative `age` makes it expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns]
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        names += [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = _builder("trial", self.name, key, age).add_extension(
            x509.SubjectAlternativeName(names), critical=False
        )
        cert = builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)
        return cert, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def issue(self, name: str, *uris: str, **options: object) -> Pair:
        """The same as files `name`.crt and `name`.key."""
        pair = Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        pair.write(self.make(*uris, **options))  # type: ignore[arg-type]
        return pair

    def service(self, name: str) -> Pair:
        """The certificate of a service of the product."""
        return self.issue(name, f"spiffe://abdomenatlas/{name}")

    def credentials(self, pair: Pair | None = None, token_file: Path | None = None) -> Credentials:
        """Of a client that trusts this authority."""
        return Credentials(self.ca, pair.cert if pair else None, pair.key if pair else None, token_file)


def _builder(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, age: dt.timedelta) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    name, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (subject, issuer))
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 3 * DAY)
        .not_valid_after(now + age)
    )

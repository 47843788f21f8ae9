"""PEM files of certificates and keys: read, and checked to fit together before anybody is shown them."""

from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from services.core.errors import AtlasError, Reason

_PUBLIC = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def pair(cert: Path, key: Path) -> tuple[bytes, bytes]:
    """The chain and the key. Raises FIELD_INVALID, naming the file, if they are unusable or not of one another."""
    chain, private = contents(cert), contents(key)
    try:
        of_cert = load_pem_x509_certificates(chain)[0].public_key().public_bytes(*_PUBLIC)
    except (ValueError, IndexError) as error:
        raise unusable(cert, "This is not a certificate in PEM.") from error
    try:
        of_key = load_pem_private_key(private, None).public_key().public_bytes(*_PUBLIC)
    except (ValueError, TypeError) as error:
        raise unusable(key, "This is not an unencrypted private key in PEM.") from error
    if of_cert != of_key:
        raise unusable(key, "The key does not belong to the certificate.")
    return chain, private


def authorities(ca: Path) -> bytes:
    """A bundle of certificates. Raises FIELD_INVALID."""
    bundle = contents(ca)
    try:
        load_pem_x509_certificates(bundle)
    except ValueError as error:
        raise unusable(ca, "This is not a bundle of certificates in PEM.") from error
    return bundle


def contents(path: Path) -> bytes:
    """Raises FIELD_INVALID if the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise unusable(path, f"The file cannot be read: {error.strerror}.") from error


def unusable(path: Path, message: str) -> AtlasError:
    """The error that names the file, and never quotes it."""
    return AtlasError(Reason.FIELD_INVALID, message, field=str(path), remedy="See docs/security.md.")

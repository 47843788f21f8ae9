"""What the installation stands on: PostgreSQL and S3, which are there already."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from charts.schema.base import KeyOf, Name, Values
from services.storage.settings import BUCKET, ENDPOINT


class Postgresql(Values):
    """How PostgreSQL is reached; where it is stands in the URLs of the services' secrets."""

    sslMode: Literal["disable", "require", "verify-ca", "verify-full"] = "verify-full"
    """How the connection is protected; the URL may say otherwise."""
    caBundle: KeyOf = KeyOf(key="ca.crt")
    """ConfigMap with the authorities that the server's certificate may come from; needed by the verify modes."""


class S3Secret(Values):
    """Secret with the keys to the bucket."""

    name: Name = ""
    """Its name."""
    accessKey: str = "access-key"
    """Which key of it holds the access key."""
    secretKey: str = "secret-key"
    """Which key of it holds the secret key."""


class S3(Values):
    """The S3 server that holds the bytes: Ceph RGW or any other."""

    endpoint: Annotated[str, StringConstraints(pattern=rf"^({ENDPOINT})?$")] = ""
    """Host and port, without scheme."""
    bucket: Annotated[str, StringConstraints(pattern=rf"^({BUCKET})?$")] = ""
    """Bucket, which must exist."""
    prefix: str = Field("", pattern=r"^([A-Za-z0-9._/-]*[A-Za-z0-9])?$")
    """Beginning of all names in the bucket, for a bucket that is shared."""
    region: str = "us-east-1"
    """Region that requests are signed for."""
    secure: bool = True
    """Whether it is reached over TLS."""
    caBundle: KeyOf = KeyOf(key="ca.crt")
    """ConfigMap with the authorities that its certificate may come from; the image's own by default."""
    existingSecret: S3Secret = S3Secret()
    """Secret with the keys."""

"""The object store that the settings name."""

from pathlib import Path

import certifi
import urllib3
from minio import Minio

from services.core.errors import AtlasError, Reason
from services.storage.objects.filesystem import FilesystemObjects
from services.storage.objects.port import Objects
from services.storage.objects.s3 import S3Objects
from services.storage.settings import Settings


def choose(settings: Settings) -> Objects:
    """Raises DEPENDENCY_UNAVAILABLE if the folder cannot be used, the S3 server does not answer or lacks the bucket,
    and FIELD_INVALID if there can be no such server or bucket."""
    scheme, _, place = settings.objects.partition(":")
    if scheme == "file":
        return FilesystemObjects(Path(place.removeprefix("//")))
    bucket, _, prefix = place.removeprefix("//").partition("/")
    try:
        objects = S3Objects(_client(settings), bucket, prefix)
        objects.require_bucket()
    except ValueError as error:  # of the client's library, whose sentences tell names only
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"No object store is reached by these settings: {error}.",
            field="objects",
            remedy="Check ATLAS_STORAGE_OBJECTS, ATLAS_STORAGE_S3_ENDPOINT and ATLAS_STORAGE_S3_REGION.",
        ) from error
    return objects


def _client(settings: Settings) -> Minio:
    return Minio(
        settings.s3_endpoint,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        region=settings.s3_region,
        secure=settings.s3_secure,
        http_client=urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=5, read=60),
            maxsize=2 * (settings.concurrent_streams + settings.concurrent_ingests),
            retries=urllib3.Retry(total=3, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
            cert_reqs="CERT_REQUIRED",
            ca_certs=str(settings.s3_ca_bundle or certifi.where()),
        ),
    )

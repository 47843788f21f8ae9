"""Objects in a bucket of any S3 server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import RawIOBase
from typing import Any, BinaryIO, cast

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from services.core.errors import AtlasError, Reason
from services.storage.objects.port import Readable, missing

_PART_BYTES = 16 * 2**20
_FAULTS = (MinioException, urllib3.exceptions.HTTPError, OSError)


class S3Objects:
    """Objects under a prefix of a bucket, which must exist. An object appears when its last byte has come.

    Objects over 16 MiB travel as multipart uploads. A process that is killed in one leaves invisible parts: give the
    bucket a lifecycle rule that aborts incomplete multipart uploads after a day.
    """

    def __init__(self, client: Minio, bucket: str, prefix: str = "") -> None:
        self._client, self._bucket = client, bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def require_bucket(self) -> None:
        """Raise DEPENDENCY_UNAVAILABLE unless the server answers, takes the keys and has the bucket."""
        with _translated(self._bucket):
            found = self._client.bucket_exists(self._bucket)
        if not found:
            raise _unavailable(self._bucket, "NoSuchBucket")

    def put(self, key: str, data: Readable, size: int) -> None:
        """See the port."""
        source = _Source(data)
        try:
            with _translated(key):
                self._client.put_object(
                    self._bucket,
                    self._prefix + key,
                    cast(BinaryIO, source),
                    size,
                    part_size=_PART_BYTES,
                    num_parallel_uploads=2,
                )
        except AtlasError:
            if source.error:
                raise source.error from None
            raise

    def open(self, key: str, offset: int = 0) -> RawIOBase:
        """See the port."""
        with _translated(key):
            # A range that begins at the end of an object is an error to S3.
            if offset and self._client.stat_object(self._bucket, self._prefix + key).size == offset:
                return _Nothing()
            return _Body(key, self._client.get_object(self._bucket, self._prefix + key, offset=offset))

    def size(self, key: str) -> int | None:
        """See the port."""
        try:
            with _translated(key):
                return self._client.stat_object(self._bucket, self._prefix + key).size
        except AtlasError as error:
            if error.reason == Reason.RESOURCE_NOT_FOUND:
                return None
            raise

    def keys(self, prefix: str) -> Iterator[str]:
        """See the port."""
        with _translated(prefix):
            for entry in self._client.list_objects(self._bucket, self._prefix + prefix, recursive=True):
                yield str(entry.object_name).removeprefix(self._prefix)

    def delete(self, key: str) -> None:
        """See the port."""
        with _translated(key):
            self._client.remove_object(self._bucket, self._prefix + key)


class _Source:
    """Data on its way in. The client wraps what `read` raises, so it is kept here."""

    def __init__(self, data: Readable) -> None:
        self._data = data
        self.error: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            return self._data.read(size) or b""
        except Exception as error:
            self.error = error
            raise


class _Nothing(RawIOBase):
    def readable(self) -> bool:
        return True

    def readinto(self, _buffer: Any) -> int:
        return 0


class _Body(RawIOBase):
    """The body of a response. Its errors are the domain's; closing gives the connection back or drops it."""

    def __init__(self, key: str, response: Any) -> None:
        self._key, self._response = key, response
        self._left = int(response.headers["Content-Length"])

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = _reading(self._key, self._response.readinto, memoryview(buffer).cast("B"))
        self._left -= count
        if not count and self._left:
            raise _unavailable(self._key, "the connection broke")
        return count

    def close(self) -> None:
        if not self.closed:
            if self._left:
                self._response.close()
            self._response.release_conn()
        super().close()


def _reading(key: str, readinto: Callable[[memoryview], int], buffer: memoryview) -> int:
    with _translated(key):
        return readinto(buffer)


@contextmanager
def _translated(key: str) -> Iterator[None]:
    """The client's errors as the domain's. What S3 says beyond its code may hold names of hosts and keys."""
    try:
        yield
    except S3Error as error:
        if error.code in ("NoSuchKey", "NoSuchObject"):
            raise missing(key) from error
        raise _unavailable(key, error.code or "an unknown error") from error
    except _FAULTS as error:
        raise _unavailable(key, type(error).__name__) from error


def _unavailable(key: str, cause: str) -> AtlasError:
    return AtlasError(
        Reason.DEPENDENCY_UNAVAILABLE,
        f"The object store refused or did not answer ({cause}).",
        field=key,
        remedy="Check endpoint, bucket and keys of the storage service, and whether the store runs.",
    )

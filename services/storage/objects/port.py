"""The port of an object store."""

from collections.abc import Iterator
from io import RawIOBase
from typing import Protocol

from services.core.errors import AtlasError, Reason


class Readable(Protocol):
    """Something to read bytes from."""

    def read(self, size: int = -1, /) -> bytes | None:
        """At most `size` bytes; none at the end."""


class Objects(Protocol):
    """Runs of bytes under keys such as "objects/ab/abcd…". A key's bytes are there as a whole or not at all.

    Every method may be called from any thread and raises DEPENDENCY_UNAVAILABLE if the store does not answer.
    """

    def put(self, key: str, data: Readable, size: int) -> None:
        """Store the `size` bytes of `data`, replacing what was there. If `data` raises, nothing is stored."""

    def open(self, key: str, offset: int = 0) -> RawIOBase:
        """The bytes from `offset` on, to be closed by the caller. Raises RESOURCE_NOT_FOUND."""

    def size(self, key: str) -> int | None:
        """Number of bytes, or None if there is no such key."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys that begin with `prefix`, which ends in "/"."""

    def delete(self, key: str) -> None:
        """Remove a key; it need not exist."""


def missing(key: str) -> AtlasError:
    """The RESOURCE_NOT_FOUND error of a key."""
    return AtlasError(Reason.RESOURCE_NOT_FOUND, "There is no such object.", field=key, remedy="Upload it.")


def too_short(key: str) -> AtlasError:
    """The error of a `put` whose data ends before its size."""
    return AtlasError(Reason.INTERNAL, "The data ended before its declared size.", field=key)

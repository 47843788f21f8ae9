"""Objects as the rest of the service sees them: content-addressed, named "objects/{sha256}"."""

import hashlib
import io
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import BinaryIO

from abdomenatlas.type.v1.array_pb2 import ArrayRef, ObjectRef
from services.core import arrayfile
from services.core.errors import AtlasError, Reason
from services.core.geometry import require_same
from services.core.memory import MemoryGate
from services.core.rpc.convert import geometry_from_proto
from services.storage.objects.port import Objects, Readable, missing

_SHA256 = re.compile(r"[0-9a-f]{64}")


def require_sha256(value: str, field: str) -> str:
    """`value`, if it is a SHA-256 in lower-case hex. Raises FIELD_INVALID."""
    if not _SHA256.fullmatch(value):
        raise AtlasError(
            Reason.FIELD_INVALID, "This is not a SHA-256.", field=field, remedy="Give 64 lower-case hex digits."
        )
    return value


def parse_name(name: str, field: str) -> str:
    """The SHA-256 in "objects/{sha256}". Raises FIELD_REQUIRED or NAME_INVALID."""
    if not name:
        raise AtlasError(Reason.FIELD_REQUIRED, "An object's name is required.", field=field)
    if not name.startswith("objects/") or not _SHA256.fullmatch(name.removeprefix("objects/")):
        raise AtlasError(
            Reason.NAME_INVALID,
            f"{name[:120]!r} is not the name of an object.",
            field=field,
            remedy='Use "objects/" and the SHA-256 in 64 lower-case hex digits.',
        )
    return name.removeprefix("objects/")


def key(sha256: str) -> str:
    """Key of an object in the object store."""
    return f"objects/{sha256[:2]}/{sha256}"


def ref(sha256: str, size: int) -> ObjectRef:
    """The message that names an object."""
    return ObjectRef(name=f"objects/{sha256}", sha256=sha256, size_bytes=size)


class Blobs:
    """Content-addressed objects in an object store.

    `hold` is called with an object's digest before somebody relies on its being there, so that nobody deletes it.
    """

    def __init__(self, objects: Objects, gate: MemoryGate, hold: Callable[[str], None]) -> None:
        self._objects, self._gate, self._hold = objects, gate, hold

    def find(self, sha256: str) -> int | None:
        """Size of an object in bytes, or None if there is none."""
        return self._objects.size(key(sha256))

    def hold(self, sha256: str) -> int | None:
        """The same; if it is there, it does not go for a while."""
        self._hold(sha256)
        return self.find(sha256)

    def require(self, name: str, field: str) -> ObjectRef:
        """The object "objects/{sha256}". Raises NAME_INVALID or RESOURCE_NOT_FOUND."""
        sha256 = parse_name(name, field)
        size = self.find(sha256)
        if size is None:
            raise missing(name).at(field)
        return ref(sha256, size)

    def claim(self, name: str, field: str) -> ObjectRef:
        """The same, for a record that is going to name it: it does not go until that is made."""
        self._hold(parse_name(name, field))
        return self.require(name, field)

    def open(self, sha256: str, offset: int = 0) -> io.RawIOBase:
        """The bytes from `offset` on. Raises RESOURCE_NOT_FOUND."""
        return self._objects.open(key(sha256), offset)

    def open_buffered(self, sha256: str) -> BinaryIO:
        """The same bytes behind a buffer of 1 MiB, for readers that take little at a time."""
        return io.BufferedReader(self.open(sha256), 1 << 20)

    def put(self, data: bytes) -> ObjectRef:
        """Store bytes, unless they are there already."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.put_checked(io.BytesIO(data), sha256, len(data))
        return ref(sha256, len(data))

    def put_checked(self, data: Readable, sha256: str, size: int) -> None:
        """Store the `size` bytes of `data`, unless they are there already. Raises DIGEST_MISMATCH, storing nothing."""
        self._hold(sha256)
        if self.find(sha256) is None:
            self._objects.put(key(sha256), _Checked(data, sha256, size), size)

    @contextmanager
    def array(self, message: ArrayRef, field: str) -> Iterator[arrayfile.ArrayFile]:
        """The array file of a record, if the two agree; memory is held for it and one slab until it is done with.

        Raises RESOURCE_NOT_FOUND, ARRAY_FILE_CORRUPT, GEOMETRY_MISMATCH or FIELD_INVALID.
        """
        stored = self.claim(message.object.name, f"{field}.object.name")
        if message.object != stored:
            raise _contradiction(f"{field}.object", "sha256 and size_bytes are not those of the object.")
        geometry = geometry_from_proto(message.geometry, f"{field}.geometry")
        with self._gate.hold(stored.size_bytes + arrayfile.slab_bytes(geometry), what=stored.name):
            with closing(self.open_buffered(stored.sha256)) as body:
                array = arrayfile.decode(body.read())
            require_same(geometry, array.geometry, first_name=f"{field}.geometry", second_name=stored.name)
            if tuple(message.channels) != array.channels or message.dtype != array.dtype.name:
                raise _contradiction(field, "channels or dtype are not those of the array file.")
            yield array


class _Checked:
    """Data whose last byte is only handed out if all of it has the right digest."""

    def __init__(self, data: Readable, sha256: str, size: int) -> None:
        self._data, self._sha256, self._left = data, sha256, size
        self._digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        block = self._data.read(size) or b""
        self._digest.update(block)
        self._left -= len(block)
        if block and self._left <= 0 and self._digest.hexdigest() != self._sha256:
            raise AtlasError(
                Reason.DIGEST_MISMATCH,
                "The bytes do not have the declared SHA-256.",
                field="sha256",
                remedy="Compute the digest of what is sent, and send all of it again.",
            )
        return block


def _contradiction(field: str, message: str) -> AtlasError:
    return AtlasError(Reason.FIELD_INVALID, message, field=field, remedy="Record what the upload returned.")

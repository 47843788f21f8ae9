"""Client of the storage service: bytes in and out, checked."""

import hashlib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import grpc

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.storage.v1.storage_pb2_grpc import StorageServiceStub
from abdomenatlas.type.v1.array_pb2 import ArrayRef, ObjectRef
from services.core import arrayfile
from services.core.errors import AtlasError, Reason
from services.core.geometry import require_same
from services.core.rpc.client import connect
from services.core.rpc.convert import geometry_from_proto
from services.core.rpc.credentials import Credentials

CHUNK_BYTES = 1 << 20
ATTEMPTS = 3
"""How often in a row a transfer may fail before a single byte has moved."""
READ_SECONDS = 60.0
"""How long one ReadObject may take; what has come stays, and the next one goes on from there."""
WRITE_SECONDS = 600.0
"""The same for WriteUpload, of which storage keeps pieces of 8 MiB: a slow line needs long for one."""

Record = TypeVar("Record")
OnProgress = Callable[[int], None]
"""Called with the number of bytes that have just been moved."""


class Storage:
    """Bulk bytes through checked chunks, and `rpc` for the catalog."""

    def __init__(self, channel: grpc.Channel | str, credentials: Credentials | None = None) -> None:
        self.rpc = StorageServiceStub(connect(channel, credentials) if isinstance(channel, str) else channel)

    def put(self, data: bytes) -> ObjectRef:
        """Store `data`; bytes that storage has already are not sent."""
        digest = hashlib.sha256(data).hexdigest()
        return self._upload(digest, len(data), lambda offset: _slices(data, offset), None)

    def put_file(self, path: Path, on_progress: OnProgress | None = None, *, keep: bool = False) -> ObjectRef:
        """Store a file, going on where a cut-off attempt stopped; with `keep` for good, though no record names it."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return self._upload(digest, path.stat().st_size, lambda offset: _chunks(file, offset), on_progress, keep)

    def get(self, ref: ObjectRef | str) -> bytes:
        """All bytes of an object. Raises RESOURCE_NOT_FOUND or DIGEST_MISMATCH."""
        return b"".join(self._read(_name(ref)))

    def get_file(self, ref: ObjectRef | str, path: Path, on_progress: OnProgress | None = None) -> None:
        """Write an object to `path`, which appears only when it is whole."""
        part = path.with_name(f"{path.name}.part")
        try:
            with part.open("wb") as file:
                for data in self._read(_name(ref)):
                    file.write(data)
                    if on_progress:
                        on_progress(len(data))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def array(self, ref: ArrayRef) -> arrayfile.ArrayFile:
        """The array file of a record. Raises GEOMETRY_MISMATCH or ARRAY_FILE_CORRUPT if it contradicts the record."""
        array = arrayfile.decode(self.get(ref.object))
        require_same(
            array.geometry,
            geometry_from_proto(ref.geometry),
            first_name=ref.object.name,
            second_name=f"the record of {ref.object.name}",
        )
        if array.channels != tuple(ref.channels) or array.dtype.name != ref.dtype:
            raise AtlasError(
                Reason.ARRAY_FILE_CORRUPT,
                "The array file's channels are not those of its record.",
                field=ref.object.name,
                remedy="Restore the object from a backup: what is in storage never changes.",
            )
        return array

    def _upload(
        self,
        sha256: str,
        size: int,
        chunks_from: Callable[[int], Iterator[bytes]],
        on_progress: OnProgress | None,
        keep: bool = False,
    ) -> ObjectRef:
        upload = self.rpc.CreateUpload(pb.CreateUploadRequest(sha256=sha256, size_bytes=size, keep=keep)).upload
        failures = 0
        while upload.state != pb.Upload.STATE_COMPLETE:
            before = upload.committed_bytes
            try:
                requests = _requests(upload, chunks_from, on_progress)
                upload = self.rpc.WriteUpload(requests, timeout=WRITE_SECONDS).upload
                error = AtlasError(Reason.DEPENDENCY_UNAVAILABLE, "The upload did not end.", field=upload.name)
            except AtlasError as caught:
                if not (caught.is_passing or caught.reason == Reason.UPLOAD_OFFSET_MISMATCH):
                    raise
                error = caught
                upload = self.rpc.GetUpload(pb.GetUploadRequest(name=upload.name), wait_for_ready=True).upload
            failures = 0 if upload.committed_bytes > before else failures + 1
            if failures == ATTEMPTS:
                raise error
        return upload.object

    def _read(self, name: str) -> Iterator[bytes]:
        digest, offset, failures = hashlib.sha256(), 0, 0
        while True:
            try:
                request = pb.ReadObjectRequest(name=name, offset=offset)
                for chunk in self.rpc.ReadObject(request, timeout=READ_SECONDS, wait_for_ready=failures > 0):
                    if chunk.offset != offset or zlib.crc32(chunk.data) != chunk.crc32:
                        raise _damaged(name)
                    digest.update(chunk.data)
                    offset += len(chunk.data)
                    failures = 0
                    yield chunk.data
                break
            except AtlasError as error:
                failures += 1
                if not error.is_passing or failures == ATTEMPTS:
                    raise
        if digest.hexdigest() != name.removeprefix("objects/"):
            raise _damaged(name)


def found(get: Callable[[], Record]) -> Record | None:
    """What `get` returns, or None if it raises RESOURCE_NOT_FOUND."""
    try:
        return get()
    except AtlasError as error:
        if error.reason != Reason.RESOURCE_NOT_FOUND:
            raise
        return None


def _requests(
    upload: pb.Upload, chunks_from: Callable[[int], Iterator[bytes]], on_progress: OnProgress | None
) -> Iterator[pb.WriteUploadRequest]:
    offset = upload.committed_bytes
    for data in chunks_from(offset):
        yield pb.WriteUploadRequest(name=upload.name, offset=offset, data=data, crc32=zlib.crc32(data))
        offset += len(data)
        if on_progress:
            on_progress(len(data))


def _slices(data: bytes, offset: int) -> Iterator[bytes]:
    for start in range(offset, len(data), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]


def _chunks(file: BinaryIO, offset: int) -> Iterator[bytes]:
    file.seek(offset)
    while data := file.read(CHUNK_BYTES):
        yield data


def _name(ref: ObjectRef | str) -> str:
    return ref if isinstance(ref, str) else ref.name


def _damaged(name: str) -> AtlasError:
    return AtlasError(Reason.DIGEST_MISMATCH, "The object was damaged on its way.", field=name, remedy="Read it again.")

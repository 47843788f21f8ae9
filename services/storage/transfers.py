"""Bulk bytes between gRPC streams and uploads or objects: checked chunks, bounded memory, one block ahead."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from isal import isal_zlib

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.core.names import parse
from services.core.texts import require_text
from services.storage import metrics
from services.storage.blobs import Blobs, parse_name, ref, require_sha256
from services.storage.catalog.tables import Upload
from services.storage.uploads import Uploads

CHUNK_BYTES = 1 << 20
PART_BYTES = 8 << 20
_STATES = {"open": pb.Upload.STATE_OPEN, "expired": pb.Upload.STATE_OPEN, "complete": pb.Upload.STATE_COMPLETE}
T = TypeVar("T")


class Transfers:
    """Uploads and downloads, at most `concurrent` of each at once."""

    def __init__(
        self, uploads: Uploads, blobs: Blobs, *, max_object_bytes: int, concurrent: int, idle_seconds: float
    ) -> None:
        self._uploads, self._blobs = uploads, blobs
        self._max_object_bytes, self._idle_seconds = max_object_bytes, idle_seconds
        self._writing, self._reading = asyncio.Semaphore(concurrent), asyncio.Semaphore(concurrent)
        self._threads = ThreadPoolExecutor(2 * concurrent, "transfer")

    def create(self, request: pb.CreateUploadRequest) -> pb.Upload:
        """Announce bytes. Blocks. Raises FIELD_INVALID, FILE_TOO_LARGE or REQUEST_ID_REUSED."""
        require_sha256(request.sha256, "sha256")
        require_text(request.request_id, "request_id", longest=64)
        if not request.size_bytes:
            raise AtlasError(Reason.FIELD_INVALID, "An object has at least one byte.", field="size_bytes")
        if request.size_bytes > self._max_object_bytes:
            raise AtlasError(
                Reason.FILE_TOO_LARGE,
                f"{request.size_bytes} bytes are more than the {self._max_object_bytes} that storage takes.",
                field="size_bytes",
                remedy="Crop the volume, or raise the storage service's limit.",
            )
        return _message(self._uploads.create(request.sha256, request.size_bytes, request.request_id, keep=request.keep))

    def get(self, name: str) -> pb.Upload:
        """An upload as it stands. Blocks."""
        return _message(self._uploads.get(parse(name, "uploads/*", "name")[0]))

    async def write(self, requests: AsyncIterator[pb.WriteUploadRequest]) -> pb.Upload:
        """Take a stream of chunks. What has come when the stream breaks is kept in pieces of 8 MiB."""
        async with self._writing:
            first = await self._next(requests)
            if first is None:
                raise AtlasError(Reason.FIELD_REQUIRED, "The stream holds no chunk.", field="name")
            (upload_id,) = parse(first.name, "uploads/*", "name")
            row = await self._run(self._uploads.require_open, upload_id, first.offset)
            return _message(await self._write(requests, first, row))

    async def _write(
        self, requests: AsyncIterator[pb.WriteUploadRequest], chunk: pb.WriteUploadRequest | None, row: Upload
    ) -> Upload:
        start = position = chunk.offset if chunk else 0
        block = bytearray()
        stored: asyncio.Future[Upload] | None = None
        try:
            while chunk is not None:
                _require_valid(chunk, position, row.size_bytes)
                block += chunk.data
                position += len(chunk.data)
                metrics.BYTES.labels("in").inc(len(chunk.data))
                if len(block) >= PART_BYTES:
                    # One block is stored while the next one comes in.
                    if stored:
                        await stored
                    stored = self._run(self._uploads.append, row.id, start, bytes(block))
                    start, block = position, bytearray()
                chunk = await self._next(requests)
        finally:
            if stored:
                row = await asyncio.shield(stored)
        if block:
            row = await self._run(self._uploads.append, row.id, start, bytes(block))
        return row

    async def read(
        self, request: pb.ReadObjectRequest, send: Callable[[pb.ReadObjectResponse], Awaitable[None]]
    ) -> None:
        """Send the chunks of an object or a part of it.

        Raises RESOURCE_NOT_FOUND, FIELD_INVALID, and DEADLINE_EXCEEDED if the reader takes nothing for too long.
        """
        sha256 = parse_name(request.name, "name")
        async with self._reading:
            size = (await self._run(self._blobs.require, request.name, "name")).size_bytes
            if request.offset > size or request.length > size - request.offset:
                raise AtlasError(
                    Reason.FIELD_INVALID, f"The object has {size} bytes; this range leaves it.", field="offset"
                )
            offset, end = request.offset, request.offset + (request.length or size - request.offset)
            body = io.BufferedReader(await self._run(self._blobs.open, sha256, offset), CHUNK_BYTES)
            try:
                ahead = self._run(body.read, min(PART_BYTES, end - offset))
                while block := await ahead:
                    left = end - offset - len(block)
                    ahead = self._run(body.read, min(PART_BYTES, left))
                    for start in range(0, len(block), CHUNK_BYTES):
                        data = block[start : start + CHUNK_BYTES]
                        chunk = pb.ReadObjectResponse(
                            offset=offset, data=data, crc32=isal_zlib.crc32(data), size_bytes=size
                        )
                        await self._in_time(send(chunk), "Nothing was taken", "Read on from the last byte that came.")
                        offset += len(data)
                        metrics.BYTES.labels("out").inc(len(data))
            finally:
                # The thread may still read ahead; closing waits for it.
                await asyncio.shield(self._run(body.close))

    async def _next(self, requests: AsyncIterator[pb.WriteUploadRequest]) -> pb.WriteUploadRequest | None:
        return await self._in_time(anext(aiter(requests), None), "Nothing came", "Resume the upload.")

    async def _in_time(self, step: Awaitable[T], what: str, remedy: str) -> T:
        """The result of a step that the other side must not keep waiting. Raises DEADLINE_EXCEEDED."""
        try:
            return await asyncio.wait_for(step, self._idle_seconds)
        except TimeoutError as error:
            raise AtlasError(
                Reason.DEADLINE_EXCEEDED, f"{what} for {self._idle_seconds:.0f} s.", field="data", remedy=remedy
            ) from error

    def _run(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *args)


def _require_valid(chunk: pb.WriteUploadRequest, position: int, size: int) -> None:
    if len(chunk.data) > CHUNK_BYTES:
        raise AtlasError(Reason.FIELD_INVALID, f"A chunk has at most {CHUNK_BYTES} bytes.", field="data")
    if chunk.offset != position:
        raise AtlasError(
            Reason.UPLOAD_OFFSET_MISMATCH,
            f"The next chunk begins at {position}, not at {chunk.offset}.",
            field="offset",
            remedy="Ask GetUpload and go on from committed_bytes.",
        )
    if position + len(chunk.data) > size:
        raise AtlasError(Reason.FIELD_INVALID, f"More bytes came than the {size} announced.", field="data")
    if isal_zlib.crc32(chunk.data) != chunk.crc32:
        raise AtlasError(
            Reason.DIGEST_MISMATCH,
            f"The chunk at {chunk.offset} does not have its checksum.",
            field="crc32",
            remedy="Ask GetUpload and send it again.",
        )


def _message(row: Upload) -> pb.Upload:
    upload = pb.Upload(
        name=f"uploads/{row.id}",
        state=_STATES[row.state],
        committed_bytes=row.committed_bytes,
        object=ref(row.sha256, row.size_bytes),
    )
    upload.expire_time.FromDatetime(row.expire_time)
    return upload

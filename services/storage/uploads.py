"""Uploads: bytes that come in pieces, survive the death of either side, and become an object as a whole or not at all.

A piece is an object of its own, "uploads/{upload}/{offset}-{length}"; the catalog says which pieces count and so how
many bytes are safe. Two senders of the same bytes may share an upload: what the other has already sent is skipped.
"""

import io
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.core.errors import AtlasError, Reason
from services.core.names import content_id
from services.storage import metrics
from services.storage.blobs import Blobs
from services.storage.catalog.catalog import Catalog
from services.storage.catalog.tables import KeptObject, Upload, UploadPart
from services.storage.claims import lock
from services.storage.objects.port import Objects
from services.storage.parts import Part, Parts, part_key, prefix

KEPT: Final = timedelta(days=7)
"""How long the row of an upload that was given up is kept, so that its sender learns how it ended."""


class Uploads:
    """Open uploads. Methods block and may be called from any thread and any number of processes."""

    def __init__(
        self,
        catalog: Catalog,
        objects: Objects,
        blobs: Blobs,
        *,
        ttl: timedelta,
        unclaimed: timedelta,
        max_open: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._catalog, self._objects, self._blobs = catalog, objects, blobs
        self._ttl, self._unclaimed, self._max_open, self._now = ttl, unclaimed, max_open, now

    def create(self, sha256: str, size: int, request_id: str, *, keep: bool = False) -> Upload:
        """The upload of these bytes: the open one if there is one, and complete at once if the object exists.

        With `keep` the object stays although no record names it.

        Raises REQUEST_ID_REUSED, or TOO_MANY_UPLOADS.
        """
        try:
            return self._create(sha256, size, request_id, keep)
        except IntegrityError:  # somebody else created it a moment ago
            return self._create(sha256, size, request_id, keep)

    def _create(self, sha256: str, size: int, request_id: str, keep: bool) -> Upload:
        upload_id = content_id("request", request_id) if request_id else content_id("bytes", sha256, str(size))
        stored, is_object = self._stored(sha256)
        if stored not in (None, size):
            raise AtlasError(
                Reason.FIELD_INVALID, f"The object of this digest has {stored} bytes, not {size}.", field="size_bytes"
            )
        with self._catalog.writing() as session:
            lock(session, sha256)
            if is_object:
                # It may have been deleted a moment ago, because nothing named it; from here on it stays.
                stored = self._blobs.find(sha256)
            row = session.get(Upload, upload_id, with_for_update=True)
            if row and (row.sha256, row.size_bytes) != (sha256, size):
                raise AtlasError(
                    Reason.REQUEST_ID_REUSED,
                    "This request id announced other bytes.",
                    field="request_id",
                    remedy="Use a new request id for each upload.",
                )
            if row is None:
                if not stored:
                    self._require_room(session)
                row = Upload(id=upload_id, sha256=sha256, size_bytes=size, committed_bytes=0, state="open")
                session.add(row)
            if stored:
                row.state, row.committed_bytes = "complete", size
            elif row.state != "open":
                self._clear(session, row)
                row.state = "open"
            row.expire_time = self._now() + (self._unclaimed if stored else self._ttl)
            if keep:
                session.merge(KeptObject(sha256=sha256))
        return row

    def _stored(self, sha256: str) -> tuple[int | None, bool]:
        """Size of the bytes, if they are there or came once and something clean is kept in their place, and whether
        they are there.
        """
        size = self._blobs.find(sha256)
        if size is None and (cleaned := self._catalog.find_cleaned(sha256)) and cleaned.note:
            # Where its import was refused it may have gone in the meantime.
            return (cleaned.size_bytes if self._blobs.hold(cleaned.clean_sha256) is not None else None), False
        return size, size is not None

    def get(self, upload_id: str) -> Upload:
        """The upload as it stands. If all bytes are there, it is completed. Raises RESOURCE_NOT_FOUND."""
        with self._catalog.reading() as session:
            row = session.get(Upload, upload_id)
        if row is None:
            raise AtlasError(
                Reason.RESOURCE_NOT_FOUND,
                f"There is no uploads/{upload_id[:64]}.",
                field="name",
                remedy="Announce the bytes again with CreateUpload.",
            )
        if row.state == "open" and row.committed_bytes == row.size_bytes:
            return self._complete(row)
        return row

    def require_open(self, upload_id: str, offset: int) -> Upload:
        """The upload, if a sender may go on at `offset`. Raises UPLOAD_EXPIRED or UPLOAD_OFFSET_MISMATCH."""
        row = self.get(upload_id)
        if row.state == "expired" or (row.state == "open" and row.expire_time < self._now()):
            raise AtlasError(
                Reason.UPLOAD_EXPIRED,
                f"The upload was given up at {row.expire_time:%Y-%m-%d %H:%M} UTC.",
                field="name",
                remedy="Announce the bytes again with CreateUpload.",
            )
        if row.state == "open" and offset > row.committed_bytes:
            raise _offset_mismatch(row.committed_bytes, offset)
        return row

    def append(self, upload_id: str, offset: int, data: bytes | bytearray) -> Upload:
        """Keep the bytes from `offset` on and, if they are the last, make the object.

        Raises UPLOAD_EXPIRED, UPLOAD_OFFSET_MISMATCH, FIELD_INVALID, or DIGEST_MISMATCH, after which the upload begins
        anew.
        """
        row = self.require_open(upload_id, offset)
        if offset + len(data) > row.size_bytes:
            raise AtlasError(
                Reason.FIELD_INVALID, f"More bytes came than the {row.size_bytes} announced.", field="data"
            )
        if len(data) == row.size_bytes and row.state == "open" and not row.committed_bytes:
            self._blobs.put_checked(io.BytesIO(data), row.sha256, row.size_bytes)
            return self._end(upload_id, "complete")
        end = offset + len(data)
        while row.state == "open" and row.committed_bytes < end:
            start = row.committed_bytes
            part = Part(part_key(upload_id, start, end - start), end - start)
            self._objects.put(part.key, io.BytesIO(memoryview(data)[start - offset :]), part.length)
            row = self._commit(upload_id, start, part.length)
        return self.get(upload_id)

    def sweep(self) -> None:
        """Give up the open uploads whose time is over, delete their bytes, and forget those given up long ago."""
        now = self._now()
        # Listed before the open uploads are: a part that comes later is then not taken for a leftover.
        keys = list(self._objects.keys("uploads/"))
        with self._catalog.writing() as session:
            late = select(Upload).where(Upload.state == "open", Upload.expire_time < now).with_for_update()
            for row in session.scalars(late).all():
                self._clear(session, row)
                row.state = "expired"
            session.execute(delete(Upload).where(Upload.state == "expired", Upload.expire_time < now - KEPT))
            still_open = set(session.scalars(select(Upload.id).where(Upload.state == "open")))
        metrics.OPEN_UPLOADS.set(len(still_open))
        for key in keys:
            if key.split("/")[1] not in still_open:
                self._objects.delete(key)

    def _commit(self, upload_id: str, start: int, length: int) -> Upload:
        """Count a part that is in the object store, unless another sender was faster."""
        with self._catalog.writing() as session:
            row = session.get_one(Upload, upload_id, with_for_update=True)
            if row.state == "open" and row.committed_bytes == start:
                session.add(UploadPart(upload_id=upload_id, offset=start, length=length))
                row.committed_bytes += length
                row.expire_time = self._now() + self._ttl
        return row

    def _complete(self, row: Upload) -> Upload:
        with self._catalog.reading() as session:
            query = select(UploadPart).where(UploadPart.upload_id == row.id).order_by(UploadPart.offset)
            parts = [Part(part_key(row.id, p.offset, p.length), p.length) for p in session.scalars(query)]
        try:
            with closing(Parts(self._objects, parts)) as data:
                self._blobs.put_checked(data, row.sha256, row.size_bytes)
        except AtlasError as error:
            if error.reason == Reason.DIGEST_MISMATCH:
                self._end(row.id, "open")
            if error.reason == Reason.RESOURCE_NOT_FOUND:
                self._end(row.id, "open")
                raise _offset_mismatch(0, row.committed_bytes) from error
            raise
        return self._end(row.id, "complete")

    def _end(self, upload_id: str, state: str) -> Upload:
        with self._catalog.writing() as session:
            row = session.get_one(Upload, upload_id, with_for_update=True)
            if row.state != "complete":
                self._clear(session, row)
                row.state = state
                row.committed_bytes = row.size_bytes if state == "complete" else 0
                if state == "complete":
                    row.expire_time = self._now() + self._unclaimed
        for key in self._objects.keys(prefix(upload_id)):
            self._objects.delete(key)
        return row

    def _clear(self, session: Session, row: Upload) -> None:
        session.execute(delete(UploadPart).where(UploadPart.upload_id == row.id))
        row.committed_bytes = 0

    def _require_room(self, session: Session) -> None:
        if (session.scalar(select(func.count()).where(Upload.state == "open")) or 0) >= self._max_open:
            raise AtlasError(
                Reason.TOO_MANY_UPLOADS,
                f"{self._max_open} uploads are open, which is the most.",
                field="uploads",
                remedy="Let those that are sent end, or raise the storage service's limit, then go on: what has "
                "arrived is not sent again. One that rests is given up after a while.",
            )


def _offset_mismatch(committed: int, offset: int) -> AtlasError:
    return AtlasError(
        Reason.UPLOAD_OFFSET_MISMATCH,
        f"The upload stands at {committed} bytes, not at {offset}.",
        field="offset",
        remedy="Ask GetUpload and go on from committed_bytes.",
    )

"""Which uploaded objects stay: those that a record names, those that were asked to be kept, and all for a while.

An object that came by an upload, or that was made of one by taking texts out, and that nothing names when its time is
over is deleted, for it may hold texts about a patient. Other objects that storage wrote itself, and all that came
before uploads were watched, have no row of an upload and are never looked at.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import delete, exists, func, select, text, update
from sqlalchemy.orm import Session

from services.core.names import content_id
from services.storage.blobs import key
from services.storage.catalog import tables
from services.storage.catalog.catalog import Catalog
from services.storage.objects.port import Objects

log = structlog.get_logger()

HELD: Final = timedelta(days=1)
"""How long an object stays at least after somebody began to make a record that names it; no call lasts as long."""
_AT_ONCE = 1000
_NAMING = (
    tables.Volume.object_sha256,
    tables.Prediction.array_sha256,
    tables.AttentionMap.array_sha256,
    tables.LabelVersion.array_sha256,
    tables.LabelVersion.combined_sha256,
    tables.LabelVersion.disagreement_sha256,
    tables.KeptObject.sha256,
)
"""The columns that name objects."""
_UNREAD = tables.LabelVersion.combined_sha256.is_(None) | tables.LabelVersion.disagreement_sha256.is_(None)
"""Label versions that code from before these columns wrote, perhaps a moment ago."""


class Claims:
    """Holds objects that are about to be named, and deletes those that nobody named in time. Methods block."""

    def __init__(
        self, catalog: Catalog, objects: Objects, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._catalog, self._objects, self._now = catalog, objects, now

    def hold(self, sha256: str) -> None:
        """Let an object, if it is there, stay for a day at least. To be called before one looks whether it is there."""
        until = self._now() + HELD
        short = (
            (tables.Upload.sha256 == sha256) & (tables.Upload.state == "complete") & (tables.Upload.expire_time < until)
        )
        with self._catalog.reading() as session:
            if not session.scalar(select(exists().where(short))):
                return
        with self._catalog.writing() as session:
            lock(session, sha256)
            session.execute(update(tables.Upload).where(short).values(expire_time=until))

    def keep(self, sha256: str) -> None:
        """Let an object stay for good. Where it may be about to go, `hold` it first."""
        with self._catalog.reading() as session:
            is_kept = session.get(tables.KeptObject, sha256)
        if not is_kept:
            self._catalog.add_all([tables.KeptObject(sha256=sha256)])

    def watch(self, clean_sha256: str, size: int, uploaded_sha256: str) -> None:
        """Look at a clean object, which is about to be written, as if it had come when the upload did that it is of."""
        upload = tables.Upload
        came = select(func.max(upload.expire_time)).where(upload.sha256 == uploaded_sha256, upload.state == "complete")
        id_ = content_id("clean", clean_sha256)
        with self._catalog.writing() as session:
            lock(session, clean_sha256)
            row = session.get(upload, id_)
            times = [self._now() + HELD, session.scalar(came), row and row.expire_time]
            until = max(time for time in times if time)
            session.merge(
                upload(
                    id=id_,
                    sha256=clean_sha256,
                    size_bytes=size,
                    committed_bytes=size,
                    state="complete",
                    expire_time=until,
                )
            )

    def replace(self, uploaded: tables.CleanedObject) -> None:
        """Say what is kept in place of an upload, and delete that if it is another and nothing names it."""
        self._catalog.add_cleaned(uploaded)
        if uploaded.clean_sha256 == uploaded.sha256:
            return
        with self._catalog.writing() as session:
            lock(session, uploaded.sha256)
            if not self._is_named(session, uploaded.sha256):
                self._objects.delete(key(uploaded.sha256))

    def sweep(self) -> None:
        """Delete the objects whose time is over and that nothing names, and forget their uploads."""
        self._read_records()
        upload = tables.Upload
        over = select(upload.sha256).where(upload.state == "complete").group_by(upload.sha256)
        over = over.having(func.max(upload.expire_time) < self._now()).limit(_AT_ONCE)
        with self._catalog.reading() as session:
            found = session.scalars(over).all()
        sizes = [size for sha256 in found if (size := self._settle(sha256))]
        if sizes:
            log.info("unclaimed uploads deleted", objects=len(sizes), bytes=sum(sizes))

    def _read_records(self) -> None:
        """Fill in what label versions name beside their masks, where it stands in the record alone."""
        query = select(tables.LabelVersion).where(_UNREAD).limit(_AT_ONCE)
        while self._any_unread():
            with self._catalog.writing() as session:
                for row in session.scalars(query):
                    # The protobuf JSON of its message.
                    record = json.loads(row.record)
                    row.combined_sha256, row.disagreement_sha256 = (
                        record.get(array, {}).get("object", {}).get("sha256", "")
                        for array in ("combined", "disagreement")
                    )

    def _any_unread(self) -> bool:
        with self._catalog.reading() as session:
            return bool(session.scalar(select(exists().where(_UNREAD))))

    def _settle(self, sha256: str) -> int:
        """Forget the uploads of an object, which nothing names from now on or which is deleted; bytes deleted."""
        upload, cleaned, deleted = tables.Upload, tables.CleanedObject, 0
        with self._catalog.writing() as session:
            lock(session, sha256)
            rows = session.scalars(select(upload).where(upload.sha256 == sha256)).all()
            # Another process settled it, and it may be there anew without an upload.
            if not any(row.state == "complete" for row in rows):
                return 0
            # It was held or announced again a moment ago.
            if any(row.state == "open" or (row.state == "complete" and row.expire_time >= self._now()) for row in rows):
                return 0
            if session.scalar(select(exists().where(_UNREAD))):
                return 0
            if not self._is_named(session, sha256):
                # Within the lock: whoever announces or holds it now finds it gone, or it stays.
                deleted = self._objects.size(key(sha256)) or 0
                self._objects.delete(key(sha256))
                session.execute(delete(cleaned).where(cleaned.clean_sha256 == sha256))
            session.execute(delete(upload).where(upload.sha256 == sha256, upload.state == "complete"))
        return deleted

    def _is_named(self, session: Session, sha256: str) -> bool:
        return any(session.scalar(select(exists().where(column == sha256))) for column in _NAMING)


def lock(session: Session, sha256: str) -> None:
    """Wait until no other transaction decides about this object.

    On SQLite those that write take turns from their start on, which a session puts off until it is asked for something.
    """
    if session.connection().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": int(sha256[:15], 16)})

"""Files without the texts that came with them: what is kept of an upload holds no word about a patient."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import closing

from abdomenatlas.type.v1.array_pb2 import ObjectRef
from services.core import nifti
from services.core.errors import AtlasError, Reason
from services.core.nifti.clean import START_BYTES, Texts, cleaned, find
from services.storage.blobs import Blobs, parse_name, ref
from services.storage.catalog.catalog import Catalog
from services.storage.catalog.tables import CleanedObject
from services.storage.claims import Claims


class Cleaning:
    """Puts a clean object in the place of an uploaded one that holds texts. Methods block."""

    def __init__(self, catalog: Catalog, blobs: Blobs, claims: Claims) -> None:
        self._catalog, self._blobs, self._claims = catalog, blobs, claims

    def clean(self, name: str, field: str) -> tuple[ObjectRef, str]:
        """The NIfTI file "objects/{sha256}" without texts, and a sentence about what was taken out, "" for nothing.

        An upload that holds texts is deleted when its clean object is there; its name goes on standing for that. What
        was looked at once is not looked at again.
        Raises NAME_INVALID, RESOURCE_NOT_FOUND and what reading a NIfTI file raises.
        """
        try:
            return self._clean(name, field)
        except AtlasError as error:
            # Another call may have replaced the object a moment ago.
            if error.reason != Reason.RESOURCE_NOT_FOUND or not self._catalog.find_cleaned(parse_name(name, field)):
                raise
            return self._clean(name, field)

    def current(self, name: str, field: str) -> ObjectRef:
        """What stands for "objects/{sha256}" now: the object, or the clean one that took its place."""
        known = self._known(name, field)
        return known[0] if known else self._blobs.claim(name, field)

    def keep(self, name: str, field: str) -> None:
        """Let what stands for "objects/{sha256}" stay for good, if `clean` has looked at it and it is still there."""
        if known := self._known(name, field):
            self._claims.keep(known[0].sha256)

    def _known(self, name: str, field: str) -> tuple[ObjectRef, str] | None:
        """What was kept of an upload, and the sentence about it, if that was looked at and is still there."""
        row = self._catalog.find_cleaned(parse_name(name, field))
        size = self._blobs.hold(row.clean_sha256) if row else None
        return (ref(row.clean_sha256, size), row.note) if row and size is not None else None

    def _clean(self, name: str, field: str) -> tuple[ObjectRef, str]:
        if known := self._known(name, field):
            return known
        given = self._blobs.claim(name, field)
        texts = self._texts(given)
        sha256 = self._put_clean(given, texts) if texts.note else given.sha256
        self._claims.replace(
            CleanedObject(sha256=given.sha256, size_bytes=given.size_bytes, clean_sha256=sha256, note=texts.note)
        )
        return self._blobs.claim(f"objects/{sha256}", field), texts.note

    def _texts(self, given: ObjectRef) -> Texts:
        with closing(self._blobs.open_buffered(given.sha256)) as file:
            start = file.read(START_BYTES)
        end = start
        if given.size_bytes > len(start):
            with closing(io.BufferedReader(self._blobs.open(given.sha256, given.size_bytes - 4))) as file:
                end = file.read(4)
        try:
            return find(start, end, given.size_bytes)
        except AtlasError:
            # The reader may know better what the file is instead.
            with closing(self._blobs.open_buffered(given.sha256)) as file:
                nifti.read_header(file)
            raise

    def _put_clean(self, given: ObjectRef, texts: Texts) -> str:
        digest, size = hashlib.sha256(), 0
        for block in self._blocks(given, texts):
            digest.update(block)
            size += len(block)
        self._claims.watch(digest.hexdigest(), size, given.sha256)
        # A second pass, for the store wants the size first and a file may not fit into memory.
        self._blobs.put_checked(_Blocks(self._blocks(given, texts)), digest.hexdigest(), size)
        return digest.hexdigest()

    def _blocks(self, given: ObjectRef, texts: Texts) -> Iterator[bytes]:
        with closing(self._blobs.open_buffered(given.sha256)) as file:
            yield from cleaned(file, texts)


class _Blocks:
    """Blocks as a file to read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._left = blocks, b""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""
        if not self._left:
            self._left = next(self._blocks, b"")
        count = len(self._left) if size < 0 else size
        data, self._left = self._left[:count], self._left[count:]
        return data

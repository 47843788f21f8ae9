"""What the collections below a volume have in common: names, idempotent creation, pages."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from google.protobuf import json_format

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.core.names import parse
from services.core.rpc.paging import Page
from services.storage import volumes
from services.storage.catalog import tables
from services.storage.catalog.catalog import Catalog

M = TypeVar("M", pb.Prediction, pb.AttentionMap, pb.LabelVersion)
_DERIVED_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Kind(Generic[M]):
    """One collection: its messages, its table, and what makes two messages the same.

    `inputs` gives what a resource was made of. Of two with the same inputs the first stays, also if a model that runs
    on a GPU gave other bytes the second time.
    """

    collection: str
    message: type[M]
    table: type[tables.OfVolume]
    array_sha256: Callable[[M], str]
    columns: Callable[[M], dict[str, Any]]
    inputs: Callable[[M], object]

    @property
    def pattern(self) -> str:
        """How its names look."""
        return f"volumes/*/{self.collection}/*"

    def parse(self, row: tables.OfVolume) -> M:
        """The message of a row."""
        # During an upgrade, pods of the other version may have written fields that this one does not know.
        return json_format.Parse(row.record, self.message(), ignore_unknown_fields=True)


class Collection(Generic[M]):
    """The resources of one kind in the catalog. Methods block."""

    def __init__(self, catalog: Catalog, kind: Kind[M]) -> None:
        self._catalog = catalog
        self._kind: Kind[M] = kind

    def name(self, volume_id: str, id_: str, field: str) -> str:
        """Name of the resource with a derived id. Raises NAME_INVALID."""
        if not _DERIVED_ID.fullmatch(id_):
            raise AtlasError(
                Reason.NAME_INVALID,
                f"{id_[:80]!r} is not an id that was derived from inputs.",
                field=field,
                remedy="Use 32 lower-case hex digits.",
            )
        return f"volumes/{volume_id}/{self._kind.collection}/{id_}"

    def find(self, volume_id: str, id_: str) -> M | None:
        """What has been committed under an id, if anything."""
        row = self._catalog.find(self._kind.table, volume_id, id_)
        return self._kind.parse(row) if row else None

    def get(self, name: str, field: str = "name") -> M:
        """Raises NAME_INVALID or RESOURCE_NOT_FOUND."""
        volume_id, id_ = parse(name, self._kind.pattern, field)
        return self._kind.parse(self._catalog.get(self._kind.table, volume_id, id_, name, field))

    def require_of(self, volume_id: str, name: str, field: str) -> M:
        """The same, if it belongs to that volume. Raises FIELD_INVALID too."""
        if parse(name, self._kind.pattern, field)[0] != volume_id:
            raise AtlasError(Reason.FIELD_INVALID, f"{name} is not of volumes/{volume_id}.", field=field)
        return self.get(name, field)

    def row(self, volume_id: str, id_: str, message: M, **more: Any) -> tables.OfVolume:
        """The row of a checked message, which gets its name and time, with `more` columns or rows that belong to it."""
        now = datetime.now(UTC)
        message.name = f"volumes/{volume_id}/{self._kind.collection}/{id_}"
        message.create_time.FromDatetime(now)
        return self._kind.table(
            volume_id=volume_id,
            id=id_,
            array_sha256=self._kind.array_sha256(message),
            create_time=now,
            record=json_format.MessageToJson(message, indent=None),
            **self._kind.columns(message),
            **more,
        )

    def add(self, volume_id: str, id_: str, message: M, **more: Any) -> M:
        """Commit a checked message, and `more` as in `row`, or return what was committed first under this id.

        Raises RESOURCE_CONFLICT if that was made of something else.
        """
        stored = self._kind.parse(self._catalog.add(self.row(volume_id, id_, message, **more), message.name))
        if self._kind.inputs(stored) != self._kind.inputs(message):
            raise AtlasError(
                Reason.RESOURCE_CONFLICT,
                f"{message.name} was made of something else.",
                field="id",
                remedy="Derive the id from everything that the resource is made of.",
            )
        return stored

    def page(self, parent: str, page_size: int, page_token: str, method: str, origin: int = 0) -> tuple[list[M], str]:
        """(messages, oldest first, and the token of the next page)."""
        (volume_id,) = parse(parent, volumes.NAME, "parent")
        page = Page.of(page_size, page_token, method, (int,), parent, origin)
        (after,) = page.after or (0,)
        self._catalog.volume(volume_id)
        found = self._catalog.list(self._kind.table, volume_id, after=after, limit=page.size + 1, origin=origin)
        rows, token = page.cut(found, lambda row: (row.sequence,))
        return [self._kind.parse(row) for row in rows], token

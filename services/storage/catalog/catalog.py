"""What the catalog is asked and told."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased, sessionmaker

from services.core.database import answering
from services.core.errors import AtlasError, Reason
from services.storage.catalog.database import unavailable
from services.storage.catalog.tables import (
    Base,
    CleanedObject,
    Fingerprint,
    LabelVersion,
    ModelUse,
    OfVolume,
    Volume,
    Withdrawal,
)

R = TypeVar("R", bound=OfVolume)
T = TypeVar("T", bound=OfVolume | Volume | CleanedObject)


class Catalog:
    """Rows in and out. A row is detached: its columns are there, its session is not.

    Every method raises DEPENDENCY_UNAVAILABLE if the database does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        options: dict[str, Any] = {"expire_on_commit": False}
        self._reads = sessionmaker(engine, **options)
        self._writes = sessionmaker(engine.execution_options(writes=True), **options)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that reads."""
        with answering(unavailable), self._reads.begin() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that writes; committed at the end, or undone if an error passes."""
        with answering(unavailable), self._writes.begin() as session:
            yield session

    def volume(self, volume_id: str, field: str = "parent") -> Volume:
        """Raises RESOURCE_NOT_FOUND for the request's `field`."""
        return _found(self.find_volume(volume_id), f"volumes/{volume_id}", field)

    def find_volume(self, volume_id: str) -> Volume | None:
        """The volume of that id, if there is one."""
        with self.reading() as session:
            return session.get(Volume, volume_id)

    def volumes(self, *, dataset: str, after: str, limit: int, withdrawn: bool = False) -> Sequence[Volume]:
        """Volumes by id, after an id; of one dataset unless `dataset` is empty; withdrawn ones only if asked for."""
        query = select(Volume).where(Volume.id > after).order_by(Volume.id).limit(limit)
        if dataset:
            query = query.where(Volume.dataset == dataset)
        if not withdrawn:
            query = query.where(Volume.id.not_in(select(Withdrawal.volume_id)))
        with self.reading() as session:
            return session.scalars(query).all()

    def volume_without_fingerprint(self) -> Volume | None:
        """One of the volumes that came before fingerprints were taken, if there is any left."""
        query = select(Volume).where(Volume.id.not_in(select(Fingerprint.volume_id))).limit(1)
        with self.reading() as session:
            return session.scalar(query)

    def withdrawals(self, volume_ids: Sequence[str]) -> dict[str, Withdrawal]:
        """The withdrawals of those of the volumes that were withdrawn."""
        with self.reading() as session:
            rows = session.scalars(select(Withdrawal).where(Withdrawal.volume_id.in_(volume_ids))).all()
        return {row.volume_id: row for row in rows}

    def add_all(self, rows: Sequence[Base]) -> bool:
        """Insert all of the rows, or none if one is taken; which of the two is the answer."""
        try:
            with self.writing() as session:
                for row in rows:
                    session.add(row)
                    session.flush()
        except IntegrityError:
            return False
        return True

    def find_cleaned(self, sha256: str) -> CleanedObject | None:
        """What is kept in place of an upload that held texts."""
        with self.reading() as session:
            return session.get(CleanedObject, sha256)

    def add_cleaned(self, row: CleanedObject) -> None:
        """Say what is kept in place of an upload. The same file is cleaned to the same bytes, whoever was first."""
        self._add(row, lambda: row)

    def find(self, table: type[R], volume_id: str, id_: str) -> R | None:
        """What has that id among a volume's rows of `table`, if anything."""
        with self.reading() as session:
            return session.scalar(select(table).where(table.volume_id == volume_id, table.id == id_))

    def get(self, table: type[R], volume_id: str, id_: str, name: str, field: str = "name") -> R:
        """The same. Raises RESOURCE_NOT_FOUND for `name`, which the request's `field` holds."""
        return _found(self.find(table, volume_id, id_), name, field)

    def list(self, table: type[R], volume_id: str, *, after: int, limit: int, origin: int = 0) -> Sequence[R]:
        """A volume's rows of `table` in the order in which they came, after a sequence number.

        Of label versions only those of `origin`, unless it is 0.
        """
        query = select(table).where(table.volume_id == volume_id, table.sequence > after)
        if origin:
            query = query.where(LabelVersion.origin == origin)
        with self.reading() as session:
            return session.scalars(query.order_by(table.sequence).limit(limit)).all()

    def model_uses(
        self, model: str, version: str, *, organ: str, dataset: str, newest: bool, after: int, limit: int
    ) -> Sequence[tuple[ModelUse, str, str, str]]:
        """(use, volume id, label version id, dataset) of a model, of one version unless that is empty, after a sequence
        number; of one organ and dataset unless they are empty, and if asked for only in the newest merged label version
        of each volume.
        """
        query = (
            select(ModelUse, LabelVersion.volume_id, LabelVersion.id, Volume.dataset)
            .join(LabelVersion, LabelVersion.sequence == ModelUse.label_version)
            .join(Volume, Volume.id == LabelVersion.volume_id)
            .where(ModelUse.model == model, ModelUse.sequence > after)
            .order_by(ModelUse.sequence)
            .limit(limit)
        )
        for column, value in ((ModelUse.version, version), (ModelUse.organ, organ), (Volume.dataset, dataset)):
            if value:
                query = query.where(column == value)
        if newest:
            later = aliased(LabelVersion)
            of_same = (later.volume_id == LabelVersion.volume_id) & (later.origin == LabelVersion.origin)
            query = query.where(~select(later.id).where(of_same, later.sequence > LabelVersion.sequence).exists())
        with self.reading() as session:
            return session.execute(query).all()

    def add(self, row: R, name: str) -> R:
        """Insert a row. If its id is taken, what is there stays and is returned."""
        return self._add(row, lambda: self.get(type(row), row.volume_id, row.id, name))

    def _add(self, row: T, existing: Callable[[], T]) -> T:
        try:
            with self.writing() as session:
                session.add(row)
        except IntegrityError:
            return existing()
        return row


def _found(row: T | None, name: str, field: str) -> T:
    if row is None:
        raise AtlasError(
            Reason.RESOURCE_NOT_FOUND,
            f"There is no {name}.",
            field=field,
            remedy="Check the name, or list what is there.",
        )
    return row

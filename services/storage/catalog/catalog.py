"""What the catalog is asked and told."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

from services.core.errors import AtlasError, Reason
from services.storage.catalog.database import unavailable
from services.storage.catalog.tables import LabelVersion, OfVolume, Volume

R = TypeVar("R", bound=OfVolume)
T = TypeVar("T", bound=OfVolume | Volume)


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
        with _translated(), self._reads.begin() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that writes; committed at the end, or undone if an error passes."""
        with _translated(), self._writes.begin() as session:
            yield session

    def volume(self, volume_id: str) -> Volume:
        """Raises RESOURCE_NOT_FOUND."""
        return _found(self.find_volume(volume_id), f"volumes/{volume_id}")

    def find_volume(self, volume_id: str) -> Volume | None:
        """The volume of that id, if there is one."""
        with self.reading() as session:
            return session.get(Volume, volume_id)

    def volumes(self, *, dataset: str, after: str, limit: int) -> Sequence[Volume]:
        """Volumes by id, after an id; of one dataset unless `dataset` is empty."""
        query = select(Volume).where(Volume.id > after).order_by(Volume.id).limit(limit)
        with self.reading() as session:
            return session.scalars(query.where(Volume.dataset == dataset) if dataset else query).all()

    def add_volume(self, row: Volume) -> Volume:
        """Insert a volume. If its id is taken, what is there stays and is returned."""
        return self._add(row, lambda: self.volume(row.id))

    def find(self, table: type[R], volume_id: str, id_: str) -> R | None:
        """What has that id among a volume's rows of `table`, if anything."""
        with self.reading() as session:
            return session.scalar(select(table).where(table.volume_id == volume_id, table.id == id_))

    def get(self, table: type[R], volume_id: str, id_: str, name: str) -> R:
        """The same. Raises RESOURCE_NOT_FOUND for `name`."""
        return _found(self.find(table, volume_id, id_), name)

    def list(self, table: type[R], volume_id: str, *, after: int, limit: int, origin: int = 0) -> Sequence[R]:
        """A volume's rows of `table` in the order in which they came, after a sequence number.

        Of label versions only those of `origin`, unless it is 0.
        """
        query = select(table).where(table.volume_id == volume_id, table.sequence > after)
        if origin:
            query = query.where(LabelVersion.origin == origin)
        with self.reading() as session:
            return session.scalars(query.order_by(table.sequence).limit(limit)).all()

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


def _found(row: T | None, name: str) -> T:
    if row is None:
        raise AtlasError(Reason.RESOURCE_NOT_FOUND, f"There is no {name}.", field=name)
    return row


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeoutError) as error:
        raise unavailable() from error

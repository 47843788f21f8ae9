"""Tables of the catalog.

A resource's row holds the message of its public contract as protobuf JSON in `record`; the columns beside it repeat
what is searched for, joined or kept unique. Rows of resources are written once and never changed.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from services.core.audit.log import table as audit_log


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite, which knows no zones, keeps it without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC."""
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """With its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# Ids are compared byte by byte in both databases, so that both list volumes in the same order.
Id = String(64).with_variant(String(64, collation="C"), "postgresql")
Sequence = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """All tables."""


audit_log("storage").to_metadata(Base.metadata)


class Upload(Base):
    """Bytes on their way in; gone some time after they came or were given up, which is from `expire_time` on."""

    __tablename__ = "uploads"
    __table_args__ = (
        CheckConstraint("state IN ('open', 'complete', 'expired')", name="uploads_state"),
        CheckConstraint("committed_bytes BETWEEN 0 AND size_bytes", name="uploads_committed_bytes"),
        Index("uploads_by_expiry", "state", "expire_time"),
        Index("uploads_by_sha256", "sha256"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    committed_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    state: Mapped[str] = mapped_column(String(16), default="open")
    expire_time: Mapped[datetime] = mapped_column(UtcDateTime)


class UploadPart(Base):
    """One run of an open upload's bytes that is in the object store."""

    __tablename__ = "upload_parts"

    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True)
    offset: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    length: Mapped[int] = mapped_column(BigInteger)


class CleanedObject(Base):
    """An uploaded NIfTI file that was searched for texts; if it held some, it was deleted for the clean object."""

    __tablename__ = "cleaned_objects"
    __table_args__ = (Index("cleaned_objects_by_clean_sha256", "clean_sha256"),)

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    clean_sha256: Mapped[str] = mapped_column(String(64))
    note: Mapped[str] = mapped_column(Text)


class KeptObject(Base):
    """An object that stays although no record names it: a network's archive, or a label file that was imported."""

    __tablename__ = "kept_objects"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)


class Volume(Base):
    """One CT."""

    __tablename__ = "volumes"
    __table_args__ = (
        Index("volumes_by_dataset", "dataset", "id"),
        Index("volumes_by_voxels", "voxel_digest"),
        Index("volumes_by_object_sha256", "object_sha256"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    dataset: Mapped[str] = mapped_column(String(128))
    object_sha256: Mapped[str] = mapped_column(String(64))
    geometry_digest: Mapped[str] = mapped_column(String(64))
    voxel_digest: Mapped[str] = mapped_column(String(64))
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
    record: Mapped[str] = mapped_column(Text)


class Withdrawal(Base):
    """That a volume is not to be used any more."""

    __tablename__ = "withdrawals"

    volume_id: Mapped[str] = mapped_column(ForeignKey("volumes.id"), primary_key=True)
    record: Mapped[str] = mapped_column(Text)


class Fingerprint(Base):
    """What a volume's copies are found by. `is_compared` is set once, with the pairs that were found."""

    __tablename__ = "fingerprints"
    __table_args__ = (Index("fingerprints_by_state", "is_compared"),)

    volume_id: Mapped[str] = mapped_column(ForeignKey("volumes.id"), primary_key=True)
    canonical_digest: Mapped[str] = mapped_column(String(64))
    profile: Mapped[bytes] = mapped_column(LargeBinary)
    floor_mm: Mapped[float] = mapped_column(Float)
    is_compared: Mapped[bool] = mapped_column(Boolean, default=False)


class DuplicatePair(Base):
    """Two volumes that show the same scan."""

    __tablename__ = "duplicate_pairs"
    __table_args__ = (
        UniqueConstraint("first", "second", name="duplicate_pairs_names"),
        Index("duplicate_pairs_by_second", "second"),
    )

    sequence: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    first: Mapped[str] = mapped_column(ForeignKey("volumes.id"))
    second: Mapped[str] = mapped_column(ForeignKey("volumes.id"))
    record: Mapped[str] = mapped_column(Text)


class _OfVolume:
    """Columns of what belongs to a volume; `sequence` is the order in which it came."""

    sequence: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    volume_id: Mapped[str] = mapped_column(ForeignKey("volumes.id"))
    id: Mapped[str] = mapped_column(Id)
    array_sha256: Mapped[str] = mapped_column(String(64))
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
    record: Mapped[str] = mapped_column(Text)


class Prediction(_OfVolume, Base):
    """One model's answer."""

    __tablename__ = "predictions"
    __table_args__ = (
        UniqueConstraint("volume_id", "id", name="predictions_name"),
        Index("predictions_by_array_sha256", "array_sha256"),
    )

    model: Mapped[str] = mapped_column(String(255))


class AttentionMap(_OfVolume, Base):
    """Where labels are probably wrong."""

    __tablename__ = "attention_maps"
    __table_args__ = (
        UniqueConstraint("volume_id", "id", name="attention_maps_name"),
        Index("attention_maps_by_array_sha256", "array_sha256"),
    )

    profile: Mapped[str] = mapped_column(String(64))


class LabelVersion(_OfVolume, Base):
    """One immutable set of masks.

    The digests of its other arrays are "" where it has none, and None where nobody has looked into the record yet.
    """

    __tablename__ = "label_versions"
    __table_args__ = (
        UniqueConstraint("volume_id", "id", name="label_versions_name"),
        Index("label_versions_by_array_sha256", "array_sha256"),
        Index("label_versions_by_combined_sha256", "combined_sha256"),
        Index("label_versions_by_disagreement_sha256", "disagreement_sha256"),
    )

    origin: Mapped[int] = mapped_column(Integer)
    author: Mapped[str] = mapped_column(String(128))
    combined_sha256: Mapped[str | None] = mapped_column(String(64))
    disagreement_sha256: Mapped[str | None] = mapped_column(String(64))
    uses: Mapped[list["ModelUse"]] = relationship()


class ModelUse(Base):
    """An organ of a label version that has AI voxels, and one of the models that made them."""

    __tablename__ = "model_uses"
    __table_args__ = (
        Index("model_uses_by_model", "model", "organ", "sequence"),
        Index("model_uses_by_label_version", "label_version"),
    )

    sequence: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    label_version: Mapped[int] = mapped_column(ForeignKey("label_versions.sequence"))
    organ: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(64))
    voxels: Mapped[int] = mapped_column(BigInteger)
    volume_mm3: Mapped[float] = mapped_column(Float)


OfVolume = Prediction | AttentionMap | LabelVersion

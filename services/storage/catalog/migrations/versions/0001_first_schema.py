"""Uploads, volumes, predictions, attention maps and label versions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create everything."""
    op.create_table(
        "uploads",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("committed_bytes", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("expire_time", _TIME, nullable=False),
        sa.CheckConstraint("state IN ('open', 'complete', 'expired')", name="uploads_state"),
        sa.CheckConstraint("committed_bytes BETWEEN 0 AND size_bytes", name="uploads_committed_bytes"),
    )
    op.create_index("uploads_by_expiry", "uploads", ["state", "expire_time"])
    op.create_table(
        "upload_parts",
        sa.Column("upload_id", _ID, sa.ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("offset", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("length", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "volumes",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("dataset", sa.String(128), nullable=False),
        sa.Column("object_sha256", sa.String(64), nullable=False),
        sa.Column("geometry_digest", sa.String(64), nullable=False),
        sa.Column("voxel_digest", sa.String(64), nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_index("volumes_by_dataset", "volumes", ["dataset", "id"])
    op.create_index("volumes_by_voxels", "volumes", ["voxel_digest"])
    _create_of_volume("predictions", sa.Column("model", sa.String(255), nullable=False))
    _create_of_volume("attention_maps", sa.Column("profile", sa.String(64), nullable=False))
    _create_of_volume(
        "label_versions",
        sa.Column("origin", sa.Integer, nullable=False),
        sa.Column("author", sa.String(128), nullable=False),
    )


def downgrade() -> None:
    """Drop everything."""
    for table in ("label_versions", "attention_maps", "predictions", "volumes", "upload_parts", "uploads"):
        op.drop_table(table)


def _create_of_volume(name: str, *columns: sa.Column[str] | sa.Column[int]) -> None:
    op.create_table(
        name,
        sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("volume_id", _ID, sa.ForeignKey("volumes.id"), nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("array_sha256", sa.String(64), nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        *columns,
        sa.UniqueConstraint("volume_id", "id", name=f"{name}_name"),
    )

"""Withdrawals, fingerprints and the duplicates that they show."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ID = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "withdrawals",
        sa.Column("volume_id", _ID, sa.ForeignKey("volumes.id"), primary_key=True),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_table(
        "fingerprints",
        sa.Column("volume_id", _ID, sa.ForeignKey("volumes.id"), primary_key=True),
        sa.Column("canonical_digest", sa.String(64), nullable=False),
        sa.Column("profile", sa.LargeBinary, nullable=False),
        sa.Column("floor_mm", sa.Float, nullable=False),
        sa.Column("is_compared", sa.Boolean, nullable=False),
    )
    op.create_index("fingerprints_by_state", "fingerprints", ["is_compared"])
    op.create_table(
        "duplicate_pairs",
        sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("first", _ID, sa.ForeignKey("volumes.id"), nullable=False),
        sa.Column("second", _ID, sa.ForeignKey("volumes.id"), nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.UniqueConstraint("first", "second", name="duplicate_pairs_names"),
    )
    op.create_index("duplicate_pairs_by_second", "duplicate_pairs", ["second"])


def downgrade() -> None:
    """Drop them."""
    for table in ("duplicate_pairs", "fingerprints", "withdrawals"):
        op.drop_table(table)

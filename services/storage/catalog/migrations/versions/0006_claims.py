"""What tells whether an uploaded object is named by a record, and which objects are kept without one."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ARRAYS = ("combined", "disagreement")
_INDEXES = (
    ("uploads", "sha256"),
    ("volumes", "object_sha256"),
    ("cleaned_objects", "clean_sha256"),
    ("predictions", "array_sha256"),
    ("attention_maps", "array_sha256"),
    ("label_versions", "array_sha256"),
    ("label_versions", "combined_sha256"),
    ("label_versions", "disagreement_sha256"),
)


def upgrade() -> None:
    """Create the table, the columns and the indexes.

    The columns are null in rows from before, and in those that older code, which runs on for a while, goes on to write:
    the sweep fills them from the record.
    """
    op.create_table("kept_objects", sa.Column("sha256", sa.String(64), primary_key=True))
    for array in _ARRAYS:
        op.add_column("label_versions", sa.Column(f"{array}_sha256", sa.String(64), nullable=True))
    for table, column in _INDEXES:
        op.create_index(f"{table}_by_{column}", table, [column])
    # Networks' archives that came before are told from nothing else, so what came before is not looked at.
    op.execute("DELETE FROM uploads WHERE state = 'complete'")


def downgrade() -> None:
    """Drop them."""
    for table, column in _INDEXES:
        op.drop_index(f"{table}_by_{column}", table)
    for array in _ARRAYS:
        op.drop_column("label_versions", f"{array}_sha256")
    op.drop_table("kept_objects")

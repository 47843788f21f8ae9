"""What tells whether an uploaded object is named by a record, and which objects are kept without one."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_AT_ONCE = 500
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
    """Create the table, the columns and the indexes, and fill the columns."""
    op.create_table("kept_objects", sa.Column("sha256", sa.String(64), primary_key=True))
    for array in _ARRAYS:
        op.add_column("label_versions", sa.Column(f"{array}_sha256", sa.String(64), nullable=False, server_default=""))
    for table, column in _INDEXES:
        op.create_index(f"{table}_by_{column}", table, [column])
    # Networks' archives that came before are told from nothing else, so what came before is not looked at.
    op.execute("DELETE FROM uploads WHERE state = 'complete'")
    connection, after = op.get_bind(), 0
    query = sa.text("SELECT sequence, record FROM label_versions WHERE sequence > :after ORDER BY sequence LIMIT :most")
    fill = sa.text(
        "UPDATE label_versions SET combined_sha256 = :combined, disagreement_sha256 = :disagreement"
        " WHERE sequence = :sequence"
    )
    while versions := connection.execute(query, {"after": after, "most": _AT_ONCE}).all():
        connection.execute(fill, [{"sequence": number, **_arrays(json.loads(record))} for number, record in versions])
        after = versions[-1][0]


def _arrays(record: dict[str, dict[str, dict[str, str]]]) -> dict[str, str]:
    """The objects of one label version beside its masks, from the protobuf JSON of its message."""
    return {array: record.get(array, {}).get("object", {}).get("sha256", "") for array in _ARRAYS}


def downgrade() -> None:
    """Drop them."""
    for table, column in _INDEXES:
        op.drop_index(f"{table}_by_{column}", table)
    for array in _ARRAYS:
        op.drop_column("label_versions", f"{array}_sha256")
    op.drop_table("kept_objects")

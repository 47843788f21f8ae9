"""Which models made which organs, for the label versions that there are, too."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_AT_ONCE = 500


def upgrade() -> None:
    """Create the table and fill it."""
    uses = op.create_table(
        "model_uses",
        sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("label_version", _SEQUENCE, sa.ForeignKey("label_versions.sequence"), nullable=False),
        sa.Column("organ", sa.String(64), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("voxels", sa.BigInteger, nullable=False),
        sa.Column("volume_mm3", sa.Float, nullable=False),
    )
    op.create_index("model_uses_by_model", "model_uses", ["model", "organ", "sequence"])
    op.create_index("model_uses_by_label_version", "model_uses", ["label_version"])
    connection, after = op.get_bind(), 0
    merged = "SELECT sequence, record FROM label_versions WHERE origin = 3 AND sequence > :after"
    query = sa.text(f"{merged} ORDER BY sequence LIMIT :most")
    while versions := connection.execute(query, {"after": after, "most": _AT_ONCE}).all():
        rows = [row for sequence, record in versions for row in _uses(connection, sequence, json.loads(record))]
        if rows:
            connection.execute(uses.insert(), rows)
        after = versions[-1][0]


def _uses(connection: sa.Connection, sequence: int, record: dict[str, object]) -> list[dict[str, object]]:
    """The rows of one label version, whose record is the protobuf JSON of its message."""
    organs: list[dict[str, object]] = record.get("organs", [])  # type: ignore[assignment]
    rows = []
    for organ in organs:
        voxels = int(str(organ.get("voxels", 0)))
        if organ.get("origin") != "ORIGIN_AI" or not voxels:
            continue
        models = {model["name"] for model in organ.get("models", [])}  # type: ignore[attr-defined]
        for name in organ.get("predictions", []):  # type: ignore[attr-defined]
            _, volume, _, prediction = name.split("/")
            found = sa.text("SELECT model FROM predictions WHERE volume_id = :volume AND id = :prediction")
            models.add(connection.execute(found, {"volume": volume, "prediction": prediction}).scalar_one())
        for name in sorted(models):
            model, _, version = name.removeprefix("models/").partition("/versions/")
            told = {"organ": organ["organ"], "model": model, "version": version, "voxels": voxels}
            rows.append(told | {"label_version": sequence, "volume_mm3": organ.get("volumeMm3", 0.0)})
    return rows


def downgrade() -> None:
    """Drop it."""
    op.drop_table("model_uses")

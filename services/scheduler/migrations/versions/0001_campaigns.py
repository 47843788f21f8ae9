"""Lay down campaigns items reviews events and executors."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "campaign",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("state", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("models", sa.JSON(), nullable=False),
        sa.Column("organs", sa.JSON(), nullable=False),
        sa.Column("spacing_mm", sa.Double(), nullable=False),
        sa.Column("class_map", sa.String(length=63), nullable=False),
        sa.Column("profile", sa.String(length=63), nullable=False),
        sa.Column("review_share", sa.Double(), nullable=False),
        sa.Column("volume_count", sa.BigInteger(), nullable=False),
        sa.Column("ready_count", sa.BigInteger(), nullable=False),
        sa.Column("failed_count", sa.BigInteger(), nullable=False),
        sa.Column("open_review_count", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("trace_id", sa.String(length=64), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_campaign"),
        sa.UniqueConstraint("request_id", name="uq_campaign_request_id"),
    )
    op.create_index("ix_campaign_create_time_id", "campaign", ["create_time", "id"])

    op.create_table(
        "executor",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("seen_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_executor"),
    )
    op.create_table(
        "event",
        sa.Column("campaign", sa.String(length=63), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("volume", sa.String(length=63), nullable=False),
        sa.Column("resource", sa.String(length=255), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("once", sa.String(length=255), nullable=True),
        sa.ForeignKeyConstraint(["campaign"], ["campaign.id"], name="fk_event_campaign"),
        sa.PrimaryKeyConstraint("campaign", "sequence", name="pk_event"),
        sa.UniqueConstraint("campaign", "once", name="uq_event_campaign_once"),
    )
    op.create_table(
        "item",
        sa.Column("campaign", sa.String(length=63), nullable=False),
        sa.Column("volume", sa.String(length=63), nullable=False),
        sa.Column("state", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("queued", sa.Boolean(), nullable=False),
        sa.Column("age", sa.BigInteger(), nullable=False),
        sa.Column("predictions", sa.JSON(), nullable=False),
        sa.Column("attention_map", sa.String(length=255), nullable=False),
        sa.Column("label_version", sa.String(length=255), nullable=False),
        sa.Column("source_organs", sa.JSON(), nullable=False),
        sa.Column("organs", sa.JSON(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["campaign"], ["campaign.id"], name="fk_item_campaign"),
        sa.PrimaryKeyConstraint("campaign", "volume", name="pk_item"),
    )
    op.create_index("ix_item_campaign_rank_volume", "item", ["campaign", "rank", "volume"])
    op.create_index("ix_item_campaign_state", "item", ["campaign", "state"])
    order: list[str | sa.TextClause] = ["state", "queued", sa.text("priority DESC"), "age", "campaign", "volume"]
    op.create_index("ix_item_queue", "item", order)

    op.create_table(
        "review",
        sa.Column("campaign", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("volume", sa.String(length=63), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("attention_map", sa.String(length=255), nullable=False),
        sa.Column("label_version", sa.String(length=255), nullable=False),
        sa.Column("organs", sa.JSON(), nullable=False),
        sa.Column("predictions", sa.JSON(), nullable=False),
        sa.Column("state", sa.BigInteger(), nullable=False),
        sa.Column("reviewer", sa.String(length=128), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("lease_expires", sa.BigInteger(), nullable=True),
        sa.Column("decision", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.String(length=255), nullable=False),
        sa.Column("result", sa.String(length=255), nullable=False),
        sa.Column("side_versions", sa.JSON(), nullable=False),
        sa.Column("queued", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("trace_id", sa.String(length=64), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("submit_time", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["campaign"], ["campaign.id"], name="fk_review_campaign"),
        sa.PrimaryKeyConstraint("campaign", "id", name="pk_review"),
    )
    op.create_index("ix_review_campaign_round_rank", "review", ["campaign", "round", "rank"])
    op.create_index("ix_review_state_lease_expires", "review", ["state", "lease_expires"])
    op.create_index("ix_review_volume_submit_time", "review", ["volume", "submit_time"])


def downgrade() -> None:
    """Take back."""
    for table in ("event", "review", "item", "campaign", "executor"):
        op.drop_table(table)

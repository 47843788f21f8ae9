"""Give campaigns a strategy, a control arm, a budget and audits; measure reviews."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# The defaults are for campaigns that were there before: they took the highest priority, and none was drawn by lot.
_CAMPAIGN: list[sa.Column[object]] = [
    sa.Column("strategy", sa.BigInteger(), nullable=False, server_default="1"),
    sa.Column("control_share", sa.Double(), nullable=False, server_default="0.1"),
    sa.Column("budget_cases", sa.BigInteger(), nullable=True),
    sa.Column("budget_minutes", sa.Double(), nullable=True),
    sa.Column("target_error_share", sa.Double(), nullable=False, server_default="0.05"),
    sa.Column("audit_confidence", sa.Double(), nullable=False, server_default="0.95"),
    sa.Column("tolerance", sa.Double(), nullable=False, server_default="0"),
    sa.Column("audit_count", sa.BigInteger(), nullable=False, server_default="0"),
]
_REVIEW: list[sa.Column[object]] = [
    sa.Column("arm", sa.BigInteger(), nullable=False, server_default="1"),
    sa.Column("audit", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("active_time", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("seen_time", sa.BigInteger(), nullable=True),
    sa.Column("facts", sa.JSON(), nullable=False, server_default="{}"),
    sa.Column("expected_minutes", sa.Double(), nullable=False, server_default="15"),
    sa.Column("revised_mm3", sa.Double(), nullable=True),
]
_ITEM: list[sa.Column[object]] = [sa.Column("facts", sa.JSON(), nullable=False, server_default="{}")]
_ADDED = {"campaign": _CAMPAIGN, "review": _REVIEW, "item": _ITEM}


def upgrade() -> None:
    """Apply."""
    for table, columns in _ADDED.items():
        for column in columns:
            op.add_column(table, column)
    op.create_table(
        "quality_audit",
        sa.Column("campaign", sa.String(length=63), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("volume_count", sa.BigInteger(), nullable=False),
        sa.Column("case_count", sa.BigInteger(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("error_count", sa.BigInteger(), nullable=True),
        sa.Column("bound", sa.Double(), nullable=True),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["campaign"], ["campaign.id"], name="fk_quality_audit_campaign"),
        sa.PrimaryKeyConstraint("campaign", "number", name="pk_quality_audit"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("quality_audit")
    for table, columns in _ADDED.items():
        for column in columns:
            op.drop_column(table, column.name)

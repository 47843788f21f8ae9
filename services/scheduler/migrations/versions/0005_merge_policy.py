"""Give campaigns a policy of merging."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Apply. Campaigns that were there before take the defaults."""
    op.add_column("campaign", sa.Column("merge_policy", sa.JSON(), nullable=False, server_default="{}"))


def downgrade() -> None:
    """Take back."""
    op.drop_column("campaign", "merge_policy")

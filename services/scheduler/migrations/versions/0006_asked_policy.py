"""Keep what was asked for of a campaign's merging, beside what the models' cards made of it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Apply. Of campaigns that were there before it is not known."""
    op.add_column("campaign", sa.Column("asked_policy", sa.JSON(), nullable=False, server_default="{}"))


def downgrade() -> None:
    """Take back."""
    op.drop_column("campaign", "asked_policy")

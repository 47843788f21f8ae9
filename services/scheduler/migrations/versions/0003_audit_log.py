"""Keep an audit log."""

from alembic import op

from services.core.audit import log

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply."""
    log.create(op.get_bind(), "scheduler")


def downgrade() -> None:
    """Take back."""
    log.drop(op.get_bind(), "scheduler")

"""The audit log."""

from alembic import op

from services.core.audit import log

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make it."""
    log.create(op.get_bind(), "storage")


def downgrade() -> None:
    """Take it away."""
    log.drop(op.get_bind(), "storage")

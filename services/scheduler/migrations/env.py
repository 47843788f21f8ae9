"""Alembic's entry point: the connection comes from `database.Database.migrate`."""

from alembic import context

from services.scheduler.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table="scheduler_migration",
    render_as_batch=True,
)
context.run_migrations()

"""Alembic's entry: the connection comes from `database.upgrade`, which holds the lock."""

from alembic import context

from services.storage.catalog.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()

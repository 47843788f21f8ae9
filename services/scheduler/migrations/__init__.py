"""Alembic migrations of the scheduler's tables; `database.Database.migrate` runs them."""

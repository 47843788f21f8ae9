"""Alembic's migrations of the catalog. A released one is never edited; each change of the tables adds one."""

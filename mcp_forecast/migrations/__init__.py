"""Alembic migrations: the only place that sees the tables of all parts."""

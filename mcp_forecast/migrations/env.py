"""Alembic's entry: runs the migrations on the connection that `home/schema.py` passes in."""

from __future__ import annotations

from alembic import context

from mcp_forecast.migrations.metadata import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()

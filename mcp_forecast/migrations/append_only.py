"""Tables that only grow: on SQLite by triggers, on PostgreSQL by what the serving role is granted."""

from __future__ import annotations

from alembic import op


def protect(table: str, *key: str) -> None:
    """Refuse every change of a row of `table`, whose primary key is `key`."""
    if op.get_bind().dialect.name != "sqlite":
        return  # PostgreSQL: see grants in mcp_forecast.home
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
            "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        )
    # INSERT OR REPLACE takes the old row away without firing a DELETE trigger.
    same = " AND ".join(f"{column} = NEW.{column}" for column in key)
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) "
        "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
    )


def release(table: str) -> None:
    """Take `protect` back, for a migration that has to change rows."""
    if op.get_bind().dialect.name != "sqlite":
        return
    for name in ("no_update", "no_delete", "no_replace"):
        op.execute(f"DROP TRIGGER {table}_{name}")

"""Tables that only grow: by triggers, and on PostgreSQL also by what the roles are granted."""

from __future__ import annotations

from typing import Final

from alembic import op
from sqlalchemy import Connection, text

from mcp_forecast.migrations.metadata import METADATA
from mcp_forecast_engine.store.database import APPEND_ONLY

_REFUSE: Final = """
CREATE OR REPLACE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$
"""
_TRIGGERS: Final = (("no_change", "UPDATE OR DELETE", "ROW"), ("no_truncate", "TRUNCATE", "STATEMENT"))
# What else is in the schema is not ours.
_PRESENT: Final = text("SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename = ANY(:ours)")
_CHANGES: Final = "UPDATE, DELETE, TRUNCATE"


def protect(table: str, *key: str, also: tuple[str, ...] = ()) -> None:
    """Refuse every change of a row of `table`, whose primary key is `key`; `also`: columns that are unique alone."""
    if op.get_bind().dialect.name == "sqlite":
        _protect_sqlite(table, key, also)
    else:
        _protect_postgres(table)


def release(table: str) -> None:
    """Take `protect` back, for a migration that has to change rows."""
    if op.get_bind().dialect.name == "sqlite":
        for name in ("no_update", "no_delete", "no_replace"):
            op.execute(f"DROP TRIGGER {table}_{name}")
        return
    for name, _, _ in _TRIGGERS:
        op.execute(f"DROP TRIGGER {table}_{name} ON {table}")
    op.execute(f"GRANT {_CHANGES} ON {table} TO CURRENT_USER")


def forget() -> None:
    """Take back what all protected tables share, once there is none."""
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION audit_is_append_only()")


def grant(connection: Connection, role: str) -> None:
    """Give a PostgreSQL role what serving needs and no more: the log and the registry can be read and added to.

    The owner is refused changes of them too. It could take that back, and a superuser needs no grant, so
    the triggers stand behind it.
    """
    quoted = connection.dialect.identifier_preparer.quote(role)
    owner = connection.execute(text("SELECT current_user")).scalar_one()
    connection.execute(text("REVOKE ALL ON FUNCTION audit_is_append_only() FROM PUBLIC"))
    if role != owner:
        schema = connection.dialect.identifier_preparer.quote(
            connection.execute(text("SELECT current_schema()")).scalar_one()
        )
        connection.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO {quoted}"))
    for table in connection.execute(_PRESENT, {"ours": [*METADATA.tables, "alembic_version"]}).scalars():
        _grant_table(connection, str(table), quoted, is_owner=role == owner)


def _grant_table(connection: Connection, table: str, role: str, *, is_owner: bool) -> None:
    name = connection.dialect.identifier_preparer.quote(table)
    connection.execute(text(f"REVOKE ALL ON {name} FROM PUBLIC"))
    if table in APPEND_ONLY:
        connection.execute(text(f"REVOKE {_CHANGES} ON {name} FROM CURRENT_USER"))
    if is_owner:
        return
    rights = {**dict.fromkeys(APPEND_ONLY, "SELECT, INSERT"), "alembic_version": "SELECT"}.get(
        table, "SELECT, INSERT, UPDATE, DELETE"
    )
    connection.execute(text(f"REVOKE ALL ON {name} FROM {role}"))
    connection.execute(text(f"GRANT {rights} ON {name} TO {role}"))


def _protect_sqlite(table: str, key: tuple[str, ...], also: tuple[str, ...]) -> None:
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
    # INSERT OR REPLACE takes the old row away without firing a DELETE trigger.
    same = " AND ".join(f"{column} = NEW.{column}" for column in key)
    same = " OR ".join((f"({same})", *(f"{column} = NEW.{column}" for column in also)))
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    )


def _protect_postgres(table: str) -> None:
    op.execute(_REFUSE)
    for name, change, unit in _TRIGGERS:
        op.execute(
            f"CREATE TRIGGER {table}_{name} BEFORE {change} ON {table} FOR EACH {unit} "
            "EXECUTE FUNCTION audit_is_append_only()"
        )
        # ALWAYS: also where a session calls itself a replica.
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{name}")
    op.execute(f"REVOKE {_CHANGES} ON {table} FROM CURRENT_USER")

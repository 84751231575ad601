"""Who may do what in PostgreSQL: roles, grants, triggers, and schemas side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_homes import OpenOn, add, count, fresh_address, opener
from postgres_server import OWNER, SERVING, PostgresServer, as_role

from mcp_forecast.home.opening import open_home
from mcp_forecast.home.schema import REVISION, migrate, upgrade
from mcp_forecast_engine.errors import HomeNewer, StoreUnavailable

ENTRY = (
    "INSERT INTO audit_entry (seq, request_id, at, tool, caller, code, body, leaf_hash) "
    "VALUES (1, '', 0, '', '', '', '', '')"
)
CHANGES = ("UPDATE audit_entry SET code = 'X'", "DELETE FROM audit_entry", "TRUNCATE audit_entry")


@pytest.fixture
def address(postgres: PostgresServer) -> Iterator[str]:
    with fresh_address(postgres) as made:
        yield made


@pytest.fixture
def open_on() -> Iterator[OpenOn]:
    with opener() as open_on:
        yield open_on


def test_the_schema_is_read_per_command_and_a_newer_one_says_what_to_do(
    postgres: PostgresServer, address: str, open_on: OpenOn, tmp_path: Path
) -> None:
    database = open_on(address)
    add(database, "before")
    with postgres.connect(address) as other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    for refused in (lambda: add(database, "after"), lambda: open_home(tmp_path, address)):
        with pytest.raises(HomeNewer, match="9999") as caught:
            refused()
        assert "upgrade mcp-forecast" in (caught.value.next_step or "")
    with postgres.connect(address) as other:
        other.execute("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(StoreUnavailable, match="taken back to schema 0001"):
        add(database, "after")
    assert count(database) == 1


@pytest.mark.parametrize(("role", "note"), [(SERVING, ""), (OWNER, " (the serving role owns the tables")])
def test_neither_who_serves_nor_who_owns_may_change_the_log(
    address: str, open_on: OpenOn, role: str, note: str
) -> None:
    database = open_on(as_role(address, role))
    with database.command() as connection:
        connection.exec_driver_sql(ENTRY)
    for change in CHANGES:
        with pytest.raises(StoreUnavailable, match=r"permission denied .* append-only"), database.command() as changing:
            changing.exec_driver_sql(change)
    assert str(database.report()["append_only"]).partition(":")[0] == f"grants and triggers{note}"


def test_a_superuser_meets_the_triggers_and_the_report_says_so(
    postgres: PostgresServer, address: str, open_on: OpenOn
) -> None:
    with postgres.connect(address) as root:
        root.execute(ENTRY)
        root.execute("SET session_replication_role = replica")  # ordinary triggers would sleep now
        for change in CHANGES:
            with pytest.raises(Exception, match="append-only"):
                root.execute(change)
    kept = str(open_on(as_role(address, "postgres")).report()["append_only"])
    assert kept.startswith("triggers (the serving role is a superuser")
    with postgres.connect(address, OWNER) as owner:
        owner.execute("DROP TRIGGER audit_ref_no_change ON audit_ref")  # one of any table is enough
        owner.execute("GRANT UPDATE (code) ON audit_entry TO desk_server")
    assert open_on(address).report()["append_only"] == "nothing: the serving role may change the log"


def test_nobody_else_may_read_or_write_a_home(postgres: PostgresServer, address: str) -> None:
    with postgres.connect(address) as root:
        root.execute("CREATE ROLE stranger LOGIN")
        tables = [row[0] for row in root.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        may = "SELECT has_table_privilege(%s, %s, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')"
        assert len(tables) > 10
        assert [table for table in tables if root.execute(may, ("stranger", table)).fetchone() != (False,)] == []
        root.execute("DROP ROLE stranger")
    with postgres.connect(address, SERVING) as server, pytest.raises(Exception, match="permission denied"):
        server.execute("UPDATE alembic_version SET version_num = '0001'")


def test_one_role_that_owns_and_serves_refuses_itself(
    postgres: PostgresServer, open_on: OpenOn, tmp_path: Path
) -> None:
    address = postgres.empty()
    open_home(tmp_path, address).close()
    database = open_on(address)
    assert str(database.report()["append_only"]).startswith("grants and triggers")
    add(database, "x")
    assert count(database) == 1
    database.close()
    postgres.drop(address)


def test_an_owner_named_apart_migrates_and_grants_at_the_first_start(postgres: PostgresServer, tmp_path: Path) -> None:
    owner = postgres.empty()
    serving = as_role(owner, SERVING)
    with pytest.raises(StoreUnavailable, match="permission denied") as caught:
        open_home(tmp_path, serving)
    assert "MCP_FORECAST_DATABASE_OWNER" in (caught.value.next_step or "")
    database = open_home(tmp_path, serving, owner=owner)
    add(database, "x")
    assert count(database) == 1
    database.close()
    postgres.drop(owner)


def test_two_homes_in_two_schemas_of_one_database_do_not_wait_for_each_other(
    postgres: PostgresServer, open_on: OpenOn
) -> None:
    empty = postgres.empty()
    with postgres.connect(empty, OWNER) as owner:
        owner.execute("CREATE SCHEMA a")
        owner.execute("CREATE SCHEMA b")
    a, b = (f"{empty}&options=-csearch_path%3D{schema}" for schema in ("a", "b"))
    for address in (a, b):
        upgrade(address)
    first, second, beside = open_on(a), open_on(b), open_on(a)
    with first.command():
        add(second, "mine", wait_s=0.0)
        with pytest.raises(StoreUnavailable, match="busy"):
            add(beside, "mine", wait_s=0.0)
    assert (count(first), count(second)) == (0, 1)
    for database in (first, second, beside):
        database.close()
    postgres.drop(empty)


def test_what_is_not_ours_in_the_schema_keeps_its_rights(postgres: PostgresServer, open_on: OpenOn) -> None:
    empty = postgres.empty()
    with postgres.connect(empty, OWNER) as owner:
        for name in ("payroll", "audit_of_others"):
            owner.execute(f"CREATE TABLE {name} (x int)")
            owner.execute(f"GRANT ALL ON {name} TO PUBLIC")
        upgrade(empty, serving=SERVING)
        may = "SELECT has_table_privilege(%s, %s, 'UPDATE')"
        for name in ("payroll", "audit_of_others"):
            for role in (SERVING, OWNER):
                assert owner.execute(may, (role, name)).fetchone() == (True,)
    database = open_on(as_role(empty, SERVING))
    assert database.report()["append_only"] == "grants and triggers"
    database.close()
    postgres.drop(empty)


def test_what_is_only_added_to_is_the_log_of_the_audit_part_and_the_registry() -> None:
    from mcp_forecast.migrations.metadata import METADATA
    from mcp_forecast_engine.store.database import APPEND_ONLY

    assert sorted(APPEND_ONLY) == sorted(
        name for name in METADATA.tables if name.startswith("audit_") or name in ("bundle", "registry_event")
    )


def test_a_serving_role_that_is_introduced_later_is_granted_by_the_next_migration(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    owner = postgres.empty()
    serving = as_role(owner, SERVING)
    open_home(tmp_path, owner).close()
    with pytest.raises(StoreUnavailable, match="permission denied"):
        open_home(tmp_path, serving)
    assert migrate(tmp_path, serving, owner=owner) == REVISION
    database = open_home(tmp_path, serving)
    add(database, "x")
    assert str(database.report()["append_only"]) == "grants and triggers"
    database.close()
    assert migrate(tmp_path, serving) == REVISION  # who owns nothing has nothing to grant, and need not
    postgres.drop(owner)

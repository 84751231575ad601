"""PostgreSQL as a home's database: what is its own. What it shares with SQLite is in test_store_database.py."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgres_server import OWNER, SERVING, PostgresServer, as_role
from sqlalchemy import Connection, bindparam, select, text

from mcp_forecast.home import REVISION, migrate, open_home, upgrade
from mcp_forecast_audit.tables import EntryRow
from mcp_forecast_engine.errors import DataInvalid, HomeNewer, OutcomeUnknown, StoreUnavailable
from mcp_forecast_engine.store.address import masked
from mcp_forecast_engine.store.database import Database, open_database

INSERT = text("INSERT INTO preprocessing (preprocessing_id, steps, created_at) VALUES (:id, '[]', 0)")
COUNT = text("SELECT count(*) FROM preprocessing")
ENTRY = (
    "INSERT INTO audit_entry (seq, request_id, at, tool, caller, code, body, leaf_hash) "
    "VALUES (1, '', 0, '', '', '', '', '')"
)
CHANGES = ("UPDATE audit_entry SET code = 'X'", "DELETE FROM audit_entry", "TRUNCATE audit_entry")


@pytest.fixture
def address(postgres: PostgresServer) -> Iterator[str]:
    """A fresh database with this version's schema."""
    made = postgres.fresh()
    yield made
    postgres.drop(made)


@pytest.fixture
def open_on() -> Iterator[Callable[[str], Database]]:
    """Open any number of databases of this schema; all are closed at the end."""
    opened: list[Database] = []

    def opener(address: str) -> Database:
        opened.append(open_database(address, schema=REVISION))
        return opened[-1]

    yield opener
    for database in opened:
        database.close()


def add(database: Database, name: str, wait_s: float = 5.0) -> None:
    with database.command(wait_s=wait_s) as connection:
        connection.execute(INSERT, {"id": name})


def command(database: Database, *steps: Callable[[Connection], object]) -> None:
    with database.command(wait_s=5.0) as connection:
        for step in steps:
            step(connection)


def count(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(COUNT).scalar_one())


def test_the_schema_is_read_per_command_and_a_newer_one_says_what_to_do(
    postgres: PostgresServer, address: str, open_on: Callable[[str], Database], tmp_path: Path
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
    address: str, open_on: Callable[[str], Database], role: str, note: str
) -> None:
    database = open_on(as_role(address, role))
    with database.command() as connection:
        connection.exec_driver_sql(ENTRY)
    for change in CHANGES:
        with pytest.raises(StoreUnavailable, match=r"permission denied .* append-only"), database.command() as changing:
            changing.exec_driver_sql(change)
    assert str(database.report()["append_only"]).partition(":")[0] == f"grants and triggers{note}"


def test_a_superuser_meets_the_triggers_and_the_report_says_so(
    postgres: PostgresServer, address: str, open_on: Callable[[str], Database]
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
    postgres: PostgresServer, open_on: Callable[[str], Database], tmp_path: Path
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
    postgres: PostgresServer, open_on: Callable[[str], Database]
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


def test_a_transaction_whose_connection_was_ended_is_refused_and_the_next_one_works(
    postgres: PostgresServer, address: str, open_on: Callable[[str], Database]
) -> None:
    database = open_on(address)
    add(database, "first")
    with postgres.connect(address) as root:

        def end_all(_: object = None) -> None:
            root.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'desk_server'")

        def insert(connection: Connection) -> None:
            connection.execute(INSERT, {"id": "third"})

        end_all()
        add(database, "second")  # seen before it is lent
        assert count(database) == 2
        with pytest.raises(StoreUnavailable) as before_commit:
            command(database, insert, end_all)
        assert not isinstance(before_commit.value, OutcomeUnknown)  # COMMIT was never sent
        with pytest.raises(StoreUnavailable) as during:
            command(database, end_all, insert)
        assert not isinstance(during.value, OutcomeUnknown)
    add(database, "third")
    assert count(database) == 3


def test_a_commit_without_an_answer_has_an_unknown_outcome(
    postgres: PostgresServer, address: str, open_on: Callable[[str], Database]
) -> None:
    database = open_on(address)
    with postgres.connect(address) as root, postgres.connect(address, OWNER) as owner:
        # A commit that takes its time: a deferred check, which a connection's end interrupts.
        owner.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(30); RETURN NULL; END';"
            "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON preprocessing DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION slow()"
        )

        def end_who_commits() -> None:
            found = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active'"
            until = time.monotonic() + 10.0
            while not root.execute(found).fetchall() and time.monotonic() < until:
                pass

        thread = threading.Thread(target=end_who_commits)
        thread.start()
        with pytest.raises(OutcomeUnknown) as caught:
            add(database, "perhaps")
        thread.join()
        assert "same key" in (caught.value.next_step or "")
        owner.execute("DROP TRIGGER slow ON preprocessing")
    assert count(database) == 0  # here it was not made; the caller could not know
    add(database, "perhaps")
    assert count(database) == 1


def test_a_failed_statement_that_was_passed_over_commits_nothing(
    address: str, open_on: Callable[[str], Database]
) -> None:
    database = open_on(address)

    def pass_over() -> None:
        with database.command() as connection:
            connection.execute(INSERT, {"id": "x"})
            with pytest.raises(Exception, match="duplicate"):
                connection.execute(INSERT, {"id": "x"})

    with pytest.raises(StoreUnavailable, match="a statement of this command failed"):
        pass_over()
    assert count(database) == 0


def test_a_value_that_postgresql_cannot_hold_is_refused_as_such(
    address: str, open_on: Callable[[str], Database]
) -> None:
    database = open_on(address)
    with pytest.raises(DataInvalid, match="NUL"):
        add(database, "a\0b")
    find = select(EntryRow.code).where(EntryRow.seq == bindparam("seq"))
    with pytest.raises(DataInvalid, match="out of range"), database.read() as connection:
        connection.execute(find, {"seq": 2**52})
    add(database, "ab")
    assert count(database) == 1


def test_a_process_stopped_in_a_transaction_holds_the_others_up_for_seconds_only(
    address: str, open_on: Callable[[str], Database]
) -> None:
    stopped, waiting = open_on(address), open_on(address)

    def shorten(connection: Connection) -> None:
        assert connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar() == "5s"
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '200ms'")
        connection.execute(INSERT, {"id": "of the stopped"})

    with pytest.raises(StoreUnavailable):
        command(stopped, shorten, lambda _: add(waiting, "of the other", wait_s=5.0))
    assert count(waiting) == 1


def test_the_server_clock_counts_and_is_asked_rarely() -> None:
    from mcp_forecast_engine.store.postgres_link import MEASURE_S, ServerClock

    at, asked = [100.0], list[float]()
    clock = ServerClock(lambda: at[0])

    def ask() -> float:
        asked.append(at[0])
        at[0] += 0.2  # a round trip, half of which the answer is old
        return 5000.1 + (at[0] - 100.2)

    clock.measure(ask)
    assert clock.now() == pytest.approx(5000.2)
    at[0] += MEASURE_S - 1
    clock.measure(ask)
    assert (len(asked), clock.now()) == (1, pytest.approx(5000.2 + MEASURE_S - 1))
    at[0] += 1.1
    clock.measure(ask)
    assert len(asked) == 2


def test_the_time_a_machine_sleeps_counts() -> None:
    from mcp_forecast_engine.store.postgres_link import since_boot

    assert since_boot() == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=0.1)


def test_a_backend_that_is_frozen_is_given_up_and_the_next_read_and_command_work(
    address: str, open_on: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("postgres_link.READ_ANSWER_S", "postgres_link.WRITE_ANSWER_S", "postgres.WRITE_ANSWER_S"):
        monkeypatch.setattr(f"mcp_forecast_engine.store.{name}", 0.3)
    database = open_on(address)
    pid = text("SELECT pg_backend_pid()")
    with database.read() as connection:
        reading = int(connection.execute(pid).scalar_one())
    with database.command() as connection:
        writing = int(connection.execute(pid).scalar_one())
    try:
        os.kill(reading, signal.SIGSTOP)
        os.kill(writing, signal.SIGSTOP)
        for at_work in (lambda: count(database), lambda: add(database, "x", wait_s=0.2)):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match="the server does not answer"):
                at_work()
            assert time.monotonic() - began < 2.0
        assert count(database) == 0
        add(database, "y")
    finally:
        os.kill(reading, signal.SIGCONT)
        os.kill(writing, signal.SIGCONT)
    assert count(database) == 1


def test_a_long_copy_may_keep_the_server_silent(
    address: str, open_on: Callable[[str], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mcp_forecast_engine.store.snapshot import one_view

    monkeypatch.setattr("mcp_forecast_engine.store.postgres_link.READ_ANSWER_S", 0.2)
    database = open_on(address)
    with one_view(database) as view:
        view.execute(text("SELECT pg_sleep(0.6)"))
    with pytest.raises(StoreUnavailable, match="does not answer"), database.read() as connection:
        connection.execute(text("SELECT pg_sleep(0.6)"))


@pytest.mark.parametrize("user", ["stranger", "desk_server"])
def test_what_the_driver_says_is_for_the_log_alone(
    postgres: PostgresServer, user: str, caplog: pytest.LogCaptureFixture
) -> None:
    address = postgres.address("nowhere", user)
    silent = "postgresql://me@127.0.0.1:1/db"
    for wrong, fault, said in ((address, "refused the connection", "FATAL"), (silent, "connection to the", "127")):
        with pytest.raises(StoreUnavailable, match=fault) as caught:
            open_database(wrong)
        told = f"{caught.value} {caught.value.next_step}"
        assert [word for word in ("nowhere", "stranger", "desk", "socket", "127", ".s.PGSQL") if word in told] == []
        assert said in caplog.text


def test_what_is_not_ours_in_the_schema_keeps_its_rights(
    postgres: PostgresServer, open_on: Callable[[str], Database]
) -> None:
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


def test_the_tables_of_the_log_are_those_of_the_audit_part() -> None:
    from mcp_forecast.migrations.metadata import METADATA
    from mcp_forecast_engine.store.database import LOG_TABLES

    assert sorted(LOG_TABLES) == sorted(name for name in METADATA.tables if name.startswith("audit_"))


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


def test_a_server_that_does_not_answer_holds_callers_up_once() -> None:
    from mcp_forecast_engine.store.postgres_link import Link, ServerClock

    silent = socket.create_server(("127.0.0.1", 0))  # takes a connection and never says a word
    address = f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/db?sslmode=disable"
    link = Link(address, ServerClock(), writes=False)
    for least, most in ((1.0, 4.0), (0.0, 0.5)):
        began = time.monotonic()
        with pytest.raises(Exception, match=r"timeout|does not answer"):
            link.lend()
        assert least < time.monotonic() - began < most
    silent.close()


def test_no_password_is_ever_said(tmp_path: Path) -> None:
    secret = "s3cr@t/?&x"
    addresses = (
        f"postgresql://me:{secret}@nowhere.invalid:5432/db",
        f"postgresql://me@nowhere.invalid/db?password={secret}&sslmode=disable",
        f"postgresql://me:{secret}@[::bad/db",
    )
    for address in addresses:
        assert "s3cr" not in masked(address)
        assert "t/?" not in masked(address)
        with pytest.raises(StoreUnavailable) as caught:
            open_database(address)
        error: BaseException | None = caught.value
        assert "s3cr" not in f"{caught.value} {caught.value.next_step}"
        while error is not None:
            assert "s3cr" not in str(error)
            error = error.__cause__
    for open_one in ("postgresql://me@host/db", "postgresql://me@h1:5432,h2:5433/db", "postgresql://me@[::1]:5432/db"):
        assert masked(open_one) == open_one
    assert masked(tmp_path / "forecast.db") == os.fspath(tmp_path / "forecast.db")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me@corp:s3cret@host/db", "postgresql://me@corp:***@host/db"),
        ("postgresql://me@corp:s3cret/db", "postgresql://me@corp:***"),
        ("postgresql://user:s3cret/db", "postgresql://user:***"),
        ("postgresql://u:p@s3cret@127.0.0.1/db", "postgresql://u:***@127.0.0.1/db"),
        ("postgresql://me@h:1/db?password=s3cr@t&sslmode=x", "postgresql://me@h:1/db?password=***&sslmode=x"),
        ("postgresql://me:xpassword=s3cret@host/db", "postgresql://me:***"),
        ("host=h user=u password=s3cret", "host=h user=u password=***"),
        ("password = s3cret user=u", "password = *** user=u"),
        (r"host=h password='s3c\' ret x=1' user=u", "host=h password=*** user=u"),
        ("host=h sslpassword='s3c ret", "host=h sslpassword=***"),
    ],
)
def test_a_password_is_masked_wherever_libpq_or_a_slip_may_put_it(address: str, shown: str) -> None:
    assert masked(address) == shown


@pytest.mark.parametrize(
    "address", ["postgresql://u:p@s3cret@127.0.0.1/db", "postgresql://user:s3cret/db", "postgresql://me@corp:s3cret/db"]
)
def test_a_password_that_libpq_takes_for_a_host_or_port_is_refused_unsaid(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be read") as caught:
        open_database(address)
    assert "%40" in (caught.value.next_step or "")
    assert "s3cret" not in f"{caught.value} {caught.value.next_step} {caplog.text}"

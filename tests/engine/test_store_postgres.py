"""PostgreSQL as a home's database: what is its own. What it shares with SQLite is in test_store_database.py."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from postgres_homes import INSERT, OpenOn, add, command, count, fresh_address, opener
from postgres_server import OWNER, PostgresServer
from sqlalchemy import Connection, bindparam, select, text

from mcp_forecast_audit.tables import EntryRow
from mcp_forecast_engine.errors import DataInvalid, OutcomeUnknown, StoreUnavailable
from mcp_forecast_engine.store.database import open_database


@pytest.fixture
def address(postgres: PostgresServer) -> Iterator[str]:
    with fresh_address(postgres) as made:
        yield made


@pytest.fixture
def open_on() -> Iterator[OpenOn]:
    with opener() as open_on:
        yield open_on


def test_a_transaction_whose_connection_was_ended_is_refused_and_the_next_one_works(
    postgres: PostgresServer, address: str, open_on: OpenOn
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
    postgres: PostgresServer, address: str, open_on: OpenOn
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


def test_a_failed_statement_that_was_passed_over_commits_nothing(address: str, open_on: OpenOn) -> None:
    database = open_on(address)

    def pass_over() -> None:
        with database.command() as connection:
            connection.execute(INSERT, {"id": "x"})
            with pytest.raises(Exception, match="duplicate"):
                connection.execute(INSERT, {"id": "x"})

    with pytest.raises(StoreUnavailable, match="a statement of this command failed"):
        pass_over()
    assert count(database) == 0


def test_a_value_that_postgresql_cannot_hold_is_refused_as_such(address: str, open_on: OpenOn) -> None:
    database = open_on(address)
    with pytest.raises(DataInvalid, match="NUL"):
        add(database, "a\0b")
    find = select(EntryRow.code).where(EntryRow.seq == bindparam("seq"))
    with pytest.raises(DataInvalid, match="out of range"), database.read() as connection:
        connection.execute(find, {"seq": 2**52})
    add(database, "ab")
    assert count(database) == 1


def test_a_process_stopped_in_a_transaction_holds_the_others_up_for_seconds_only(address: str, open_on: OpenOn) -> None:
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
    address: str, open_on: OpenOn, monkeypatch: pytest.MonkeyPatch
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


def test_a_long_copy_may_keep_the_server_silent(address: str, open_on: OpenOn, monkeypatch: pytest.MonkeyPatch) -> None:
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

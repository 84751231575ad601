"""The database, whichever it is: a bounded wait for other writers, all or nothing, an end that blocks on nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import OWNER, as_role
from sqlalchemy import Column, Integer, MetaData, Table, func, insert, select
from sqlalchemy.exc import IntegrityError

from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store.address import Address
from mcp_forecast_engine.store.database import Database, open_database
from mcp_forecast_engine.store.snapshot import one_view

BOTH_DATABASES = True
ROWS = Table("t", MetaData(), Column("x", Integer, primary_key=True, autoincrement=False))
WRITE = insert(ROWS)
COUNT = select(func.count()).select_from(ROWS)


@pytest.fixture
def address(tmp_path: Path, database_address: str) -> Address:
    """A database whose tables are ours to make."""
    return as_role(database_address, OWNER) or tmp_path / "forecast.db"


@pytest.fixture
def database(address: Address) -> Iterator[Database]:
    opened = open_database(address)
    with opened.command() as connection:
        ROWS.create(connection)
    yield opened
    opened.close()


@pytest.fixture
def other(address: Address, database: Database) -> Iterator[Database]:
    """The same database as another process has it open."""
    opened = open_database(address)
    yield opened
    opened.close()


def write(database: Database, wait_s: float = 0.0) -> None:
    with database.command(wait_s=wait_s) as connection:
        connection.execute(WRITE, {"x": count(database) + 1})


def count(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(COUNT).scalar_one())


def test_a_command_waits_as_long_as_it_may_for_another_writer_and_no_longer(
    database: Database, other: Database
) -> None:
    with other.command():
        for wait_s in (0.0, 0.3):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match=r"busy|locked"):
                write(database, wait_s)
            assert wait_s - 0.05 <= time.monotonic() - began < wait_s + 0.5
        assert count(database) == 0
    write(database)


def test_a_command_waits_no_longer_for_a_thread_of_its_process(database: Database) -> None:
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with database.command():
            inside.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    with pytest.raises(StoreUnavailable, match="this process"):
        write(database, 0.1)
    done.set()
    thread.join()
    write(database)


def test_a_read_waits_for_a_long_one_of_another_thread_for_seconds_only(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sqlite.READ_WAIT_S", "postgres.READ_ANSWER_S"):
        monkeypatch.setattr(f"mcp_forecast_engine.store.{name}", 0.1)
    refused: list[BaseException] = []

    def look() -> None:
        try:
            count(database)
        except StoreUnavailable as error:
            refused.append(error)

    with database.read():
        thread = threading.Thread(target=look)
        thread.start()
        thread.join(timeout=2.0)
        assert ["busy" in str(error) for error in refused] == [True]
    assert count(database) == 0


def test_commands_of_many_processes_never_see_each_other_half_done(database: Database, address: Address) -> None:
    def add_ten() -> None:
        mine = open_database(address)
        for _ in range(10):
            with mine.command() as connection:
                seen = int(connection.execute(COUNT).scalar_one())
                connection.execute(WRITE, {"x": seen + 1})  # a number read twice would break the key
        mine.close()

    threads = [threading.Thread(target=add_ten) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert list(connection.execute(select(ROWS.c.x).order_by(ROWS.c.x)).scalars()) == list(range(1, 41))


def test_a_command_that_fails_leaves_nothing_and_the_next_one_works(database: Database) -> None:
    def write_and_fail() -> None:
        with database.command() as connection:
            connection.execute(WRITE, {"x": 1})
            raise KeyError("ours")

    with pytest.raises(KeyError):
        write_and_fail()
    assert count(database) == 0
    write(database)
    with pytest.raises(IntegrityError), database.command() as connection:
        connection.execute(WRITE, [{"x": 2}, {"x": 2}])
    assert count(database) == 1
    write(database)


def test_a_statement_of_a_read_sees_the_newest_commit_and_may_write_nothing(
    database: Database, other: Database
) -> None:
    with database.read() as connection:
        assert connection.execute(COUNT).scalar_one() == 0
        write(other)
        assert connection.execute(COUNT).scalar_one() == 1
        with pytest.raises(Exception, match=r"read-?only"):
            connection.execute(WRITE, {"x": 7})
    assert count(database) == 1


def test_a_table_that_is_gone_is_a_typed_error_and_the_connection_stays_usable(database: Database) -> None:
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=r"nowhere|missing"), database.read() as connection:
            connection.exec_driver_sql("SELECT 1 FROM nowhere")
        with pytest.raises(StoreUnavailable, match=r"nowhere|missing"), database.command() as connection:
            connection.exec_driver_sql("SELECT 1 FROM nowhere")
        write(database)


def test_what_fails_in_a_view_is_told_even_where_the_view_cannot_be_left(database: Database) -> None:
    def fail(left_by: str) -> None:
        with one_view(database) as view:
            view.exec_driver_sql(left_by)
            raise ZeroDivisionError

    for left_by in ("ROLLBACK", "SELECT 1"):  # as a connection that was lost: there a second ROLLBACK is refused
        with pytest.raises(ZeroDivisionError):
            fail(left_by)
        write(database)
    assert count(database) == 2


def test_closing_blocks_on_no_other_process(database: Database, other: Database) -> None:
    with other.command() as connection:
        began = time.monotonic()
        database.close()
        assert time.monotonic() - began < 0.5
        connection.execute(WRITE, {"x": 2})
    assert count(other) == 1


def test_closing_blocks_on_no_thread_of_ours_either(database: Database) -> None:
    with database.command() as connection:
        closer = threading.Thread(target=database.close)
        closer.start()
        closer.join(timeout=2.0)
        assert not closer.is_alive()
        connection.execute(WRITE, {"x": 1})
    assert count(database) == 1


def test_a_closed_database_refuses_reads_and_commands(database: Database) -> None:
    database.close()
    database.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        write(database)
    with pytest.raises(StoreUnavailable, match="closed"), database.read():
        pass


def test_all_who_share_a_database_read_the_same_time(database: Database, other: Database) -> None:
    assert abs(database.clock() - other.clock()) < 0.1
    assert abs(database.clock() - time.time()) < 1.0  # the server of these tests runs on this machine
    first = database.clock()
    assert 0.0 <= database.clock() - first < 1.0

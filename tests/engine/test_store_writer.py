"""The writer while the database is locked: entries are kept, commands do not add their waits up, the end is quick."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

import pytest
from postgres_server import OWNER, as_role
from runtime_toy import until
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, insert, select

from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store import writer as writer_module
from mcp_forecast_engine.store.database import Database, open_database
from mcp_forecast_engine.store.writer import Writer

BOTH_DATABASES = True
ENTRY = Table(
    "entry", MetaData(), Column("seq", Integer, primary_key=True), Column("body", Text, nullable=False)
)  # fmt: skip
Start = Callable[..., Writer[object]]


class Other:
    """Another process that writes, for what locks are concerned: a database of its own."""

    def __init__(self, database: Database) -> None:
        self._database, self._held = database, ExitStack()

    def hold(self) -> None:
        """Be in the middle of a command."""
        self._held.enter_context(self._database.command())

    def release(self) -> None:
        """Have done with it."""
        self._held.close()


@pytest.fixture
def database(tmp_path: Path, database_address: str) -> Iterator[Database]:
    opened = open_database(as_role(database_address, OWNER) or tmp_path / "forecast.db")
    with opened.command() as connection:
        ENTRY.create(connection)
    yield opened
    opened.close()


@pytest.fixture
def other(tmp_path: Path, database_address: str, database: Database) -> Iterator[Other]:
    opened = open_database(as_role(database_address, OWNER) or tmp_path / "forecast.db")
    process = Other(opened)
    yield process
    process.release()
    opened.close()


@pytest.fixture
def start(database: Database) -> Iterator[Start]:
    """Start writers; all are closed at the end."""
    started: list[Writer[object]] = []

    def starter(*, busy_s: float = 10.0) -> Writer[object]:
        started.append(Writer(database, enter_group, busy_s=busy_s))
        return started[-1]

    yield starter
    for one in started:
        one.close()


def enter_group(connection: Connection, entries: Sequence[object]) -> None:
    for entry in entries:
        if not isinstance(entry, str):
            raise TypeError(f"{entry!r} cannot be built")
        connection.execute(insert(ENTRY), {"body": entry})


def stored(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(select(ENTRY.c.body).order_by(ENTRY.c.seq)).scalars())


def add(name: str) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(insert(ENTRY), {"body": name}) and name


class Unruly:
    """A chore that raises when it is asked, while it works, or when it hears of the end."""

    def __init__(self, part: str) -> None:
        self.part, self.errors = part, list[Exception]()

    def due(self, commits: int, *, ending: bool = False) -> Callable[[Connection], object] | None:
        if self.errors:
            return None
        self._raise("due")
        return lambda connection: self._raise("work")

    def done(self, outcome: Future[object]) -> None:
        outcome.result()
        self._raise("done")

    def failed(self, error: Exception) -> None:
        self.errors.append(error)

    def _raise(self, part: str) -> None:
        if part == self.part:
            raise TypeError(part)


@pytest.mark.parametrize("part", ["due", "work", "done"])
def test_commands_go_on_whatever_is_raised_between_them(database: Database, part: str) -> None:
    chore = Unruly(part)
    writer: Writer[object] = Writer(database, enter_group, chore=chore)
    assert writer.submit(add("first")).result(timeout=5) == "first"
    until(lambda: len(chore.errors) == 1)
    assert writer.submit(add("second")).result(timeout=5) == "second"
    assert writer.close()
    assert [str(error) for error in chore.errors] == [part]


def test_entries_that_could_not_be_stored_are_stored_before_the_next_ones(
    database: Database, other: Other, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    writer = start()
    other.hold()
    for name in ("first", "second"):
        writer.enter(name)
    until(lambda: "wait for the database" in caplog.text)
    writer.enter("third")
    other.release()
    until(lambda: len(stored(database)) == 3)
    assert stored(database) == ["first", "second", "third"]


def test_an_entry_that_cannot_be_built_is_lost_alone_and_aloud(
    database: Database, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    writer = start()
    for entry in ("a", "b", object(), "c", object(), "d", "e"):
        writer.enter(entry)
    assert writer.close()
    assert stored(database) == ["a", "b", "c", "d", "e"]
    assert caplog.text.count("cannot be built and is lost") == 2


def test_of_too_many_waiting_entries_the_oldest_are_dropped_and_counted(
    database: Database,
    other: Other,
    start: Start,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer_module, "MOST_KEPT", 3)
    writer = start()
    other.hold()
    for number in range(5):
        writer.enter(str(number))
    until(lambda: "2 audit entries are lost" in caplog.text)
    other.release()
    until(lambda: len(stored(database)) == 3)
    assert stored(database) == ["2", "3", "4"]


def test_a_command_behind_a_group_waits_no_longer_than_the_group_may(
    database: Database, other: Other, start: Start
) -> None:
    writer = start()
    other.hold()
    writer.enter("entry")
    until(lambda: writer._entries.empty())  # the group is at it
    began = time.monotonic()
    command = writer.submit(add("command"))
    other.release()
    assert command.result() == "command"
    assert time.monotonic() - began < 1.0


def test_commands_that_wait_for_a_locked_database_wait_at_the_same_time(other: Other, start: Start) -> None:
    writer = start(busy_s=0.4)
    other.hold()
    began = time.monotonic()
    commands = [writer.submit(add(str(number))) for number in range(20)]
    for command in commands:
        with pytest.raises(StoreUnavailable):
            command.result()
    assert 0.3 < time.monotonic() - began < 2.0  # 20 * 0.4 s one after the other


def test_a_command_that_only_stood_behind_slow_ones_is_done(start: Start) -> None:
    writer = start(busy_s=0.05)
    slow = writer.submit(lambda connection: time.sleep(0.2))
    late = writer.submit(add("late"))
    slow.result()
    assert late.result() == "late"


def test_closing_does_all_that_was_asked_for_and_the_last_word_comes_last(database: Database, start: Start) -> None:
    writer = start()
    command = writer.submit(add("command"))
    writer.enter("entry")
    assert writer.close(add("last"))
    assert command.result() == "command"
    assert stored(database) == ["command", "entry", "last"]


@pytest.mark.parametrize("pending", ["nothing", "entry", "command"])
def test_closing_is_quick_while_another_process_writes_and_says_that_something_was_left(
    tmp_path: Path, database_address: str, database: Database, other: Other, start: Start, pending: str
) -> None:
    writer = start()
    other.hold()
    if pending == "command":
        command = writer.submit(add("command"))
        until(command.running)
    elif pending == "entry":
        writer.enter("entry")
    began = time.monotonic()
    assert not writer.close(add("last"))
    database.close()
    assert time.monotonic() - began < 1.0
    third = open_database(as_role(database_address, OWNER) or tmp_path / "forecast.db")
    assert stored(third) == []  # so the next start knows of an unclean end
    third.close()


def test_the_last_word_is_not_said_while_entries_are_left(
    database: Database, other: Other, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    writer = start()
    other.hold()
    writer.enter("entry")
    until(lambda: "wait for the database" in caplog.text)
    assert not writer.close(add("last"))
    other.release()
    assert stored(database) == []

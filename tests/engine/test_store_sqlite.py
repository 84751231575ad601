"""The database as one SQLite file: the guard of its log, and rows that only grow."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_forecast.home.opening import open_home
from mcp_forecast.home.schema import revision_of
from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store.database import Database, open_database

ENTRY = (
    "INTO audit_entry (seq, request_id, tool, caller, code, body, leaf_hash) VALUES (1, '{}', 't', 'c', 'OK', x'', x'')"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "forecast.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = open_database(path)
    with opened.command() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
    yield opened
    opened.close()


@pytest.fixture
def guard(path: Path, database: Database) -> Iterator[int]:
    """The guard as another process has it."""
    handle = os.open(path.with_name("wal.lock"), os.O_RDWR)
    yield handle
    os.close(handle)


def write(database: Database, wait_s: float) -> None:
    with database.command(wait_s=wait_s) as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")


def test_a_command_waits_no_longer_for_the_guard(database: Database, guard: int) -> None:
    fcntl.flock(guard, fcntl.LOCK_EX)
    with pytest.raises(StoreUnavailable, match="another process"):
        write(database, 0.1)
    fcntl.flock(guard, fcntl.LOCK_UN)
    write(database, 0.1)


def test_closing_blocks_on_no_other_process_and_leaves_its_log_alone(
    path: Path, database: Database, guard: int
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    fcntl.flock(guard, fcntl.LOCK_SH)
    log = path.with_name("forecast.db-wal").read_bytes()
    began = time.monotonic()
    database.close()
    assert time.monotonic() - began < 0.5
    assert path.with_name("forecast.db-wal").read_bytes() == log != b""
    other.execute("INSERT INTO t VALUES (2)")
    other.execute("COMMIT")
    assert other.execute("SELECT x FROM t").fetchall() == [(2,)]
    other.close()


def test_closing_alone_writes_everything_into_the_one_file(path: Path, database: Database) -> None:
    write(database, 0.0)
    database.close()
    assert not path.with_name("forecast.db-wal").exists()


@pytest.mark.parametrize("how", ["INSERT OR REPLACE", "REPLACE"])
def test_an_entry_of_the_log_cannot_be_written_over(tmp_path: Path, path: Path, how: str) -> None:
    open_home(tmp_path, path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute(f"INSERT {ENTRY.format('real')}")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        other.execute(f"{how} {ENTRY.format('forged')}")
    assert other.execute("SELECT request_id FROM audit_entry").fetchall() == [("real",)]
    other.execute(f"INSERT {ENTRY.format('next').replace('VALUES (1', 'VALUES (NULL')}")
    assert other.execute("SELECT seq FROM audit_entry ORDER BY seq").fetchall() == [(1,), (2,)]
    other.close()


def test_the_report_names_the_table_of_the_log_that_lacks_a_trigger(tmp_path: Path, path: Path) -> None:
    database = open_home(tmp_path, path)
    assert database.report()["append_only"] == "triggers"
    with database.command() as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_ref_no_replace")
    assert database.report()["append_only"] == "nothing: audit_ref lacks a trigger"
    database.close()


def test_a_reader_with_an_old_view_holds_one_command_up_and_not_every_one(
    path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("CHECKPOINT_BYTES", 0), ("CHECKPOINT_S", 0.3), ("CHECKPOINT_PAUSE_S", 60.0)):
        monkeypatch.setattr(f"mcp_forecast_engine.store.sqlite.{name}", value)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM t").fetchall()
    took = []
    for _ in range(4):
        began = time.monotonic()
        write(database, 1.0)
        took.append(time.monotonic() - began)
    assert took[0] > 0.25
    assert max(took[1:]) < 0.2
    reader.close()


def test_only_a_damaged_file_is_to_be_restored_from_a_backup(tmp_path: Path, path: Path) -> None:
    path.write_bytes(b"no database, but long enough to be looked at" * 100)
    with pytest.raises(StoreUnavailable, match="no usable database") as damaged:
        revision_of(path)
    assert damaged.value.next_step == "restore a backup"
    path.unlink()
    path.mkdir()  # SQLite cannot open this, whoever asks
    with pytest.raises(StoreUnavailable, match="cannot be read") as unreadable:
        revision_of(path)
    assert "retry" in (unreadable.value.next_step or "")

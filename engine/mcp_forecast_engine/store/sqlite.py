"""A home's database as one SQLite file in WAL mode, with one held connection that reads and one that writes.

SQLite before 3.51.3 can corrupt a WAL file when one process resets it while another writes (the WAL-reset bug).
So every write holds a shared lock on `wal.lock`, and a checkpoint, which lets the WAL be reset, an exclusive one.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import StaticPool

from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store.database import (
    APPEND_ONLY,
    BUSY_S,
    CLOSE_S,
    READ_WAIT_S,
    Database,
    held,
    require_schema,
)
from mcp_forecast_engine.store.write_lock import WriteLock

WAL_RESET_FIXED: Final = (3, 51, 3)
LOOK_S: Final = 0.002  # between two looks at the guard while another process holds it
CHECKPOINT_BYTES: Final = 4 << 20
CHECKPOINT_S: Final = 0.05  # readers may hold a checkpoint up this long
CHECKPOINT_PAUSE_S: Final = 1.0  # and after they did, commands are spared another try
_SCHEMA: Final = "SELECT version_num FROM alembic_version"
_NAMES: Final = "SELECT name FROM sqlite_master WHERE type = ?"
_TRIGGERS: Final = ("no_update", "no_delete", "no_replace")
log = logging.getLogger(__name__)


def sqlite_report() -> dict[str, str | bool]:
    """Which SQLite this is, and whether the lock guard is what protects it from the WAL-reset bug."""
    return {
        "sqlite_version": sqlite3.sqlite_version,
        "wal_reset_fixed": sqlite3.sqlite_version_info >= WAL_RESET_FIXED,
        "wal_guard": "flock: shared around writes, exclusive around checkpoints",
    }


class SqliteDatabase(Database):
    """Reads and commands on one SQLite file; safe for many threads and many processes of this machine.

    `read()` lends the held reading connection (autocommit: each statement sees the newest commit).
    `command()` opens BEGIN IMMEDIATE on the writing connection, commits at the end of the block and rolls back on any
    exception; `synchronous=FULL`, so a returned commit survives a power cut.
    """

    kind: ClassVar[str] = "sqlite"
    at_hand: ClassVar[bool] = True

    def __init__(self, path: Path, *, schema: str | None = None) -> None:
        """schema: the Alembic revision every command expects; None leaves it unchecked (migrations, tests)."""
        self._path, self._schema = path, schema
        self._read_lock, self._write_lock = threading.RLock(), threading.RLock()
        self._closed, self._checkpoint_after, self._busy_ms = False, 0.0, -1
        self._guard = _open_guard(path)
        with _translated("open"):
            self._reading = _engine(path, writes=False).connect()
            self._writing = _engine(path, writes=True).connect()
        self._turn = WriteLock(path)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Lend the reading connection. Raises StoreUnavailable."""
        with held(self._read_lock, time.monotonic() + READ_WAIT_S), _translated("read"):
            self._require_open()
            yield self._reading

    @contextmanager
    def command(self, *, wait_s: float = BUSY_S) -> Iterator[Connection]:
        """One transaction: all of the block's statements are committed, or none.

        Raises StoreUnavailable, also when other writers leave it no turn within wait_s (0: now or never).
        """
        until = time.monotonic() + wait_s
        with held(self._write_lock, until), _translated("write"):
            self._require_open()
            with _shared(self._guard, until):
                self._set_busy_timeout(until - time.monotonic())
                with self._writing.begin():
                    if self._schema is not None:
                        require_schema(self._writing.exec_driver_sql(_SCHEMA).scalar(), self._schema)
                    yield self._writing
            if time.monotonic() >= self._checkpoint_after and self._wal_size() > CHECKPOINT_BYTES:
                self._checkpoint()

    def unhurried(self, connection: Connection) -> None:
        """Nothing limits a statement here."""

    def writing_process(self) -> int | None:
        """The process that holds the write lock, as the kernel says; it may have been stopped with it."""
        return self._turn.holder()

    def clock(self) -> float:
        """This machine's clock: nobody else can reach the file."""
        return time.time()

    def report(self) -> dict[str, str | bool]:
        """SQLite's version, the guard, what keeps the log append-only, whose clock counts. Raises StoreUnavailable."""
        with self.read() as connection:
            tables, triggers = (
                set(connection.exec_driver_sql(_NAMES, (kind,)).scalars()) for kind in ("table", "trigger")
            )
        bare = [table for table in APPEND_ONLY if table in tables and not triggers >= _of(table)]
        kept = f"nothing: {', '.join(bare)} lacks a trigger" if bare else "triggers"
        return {**sqlite_report(), "append_only": kept, "clock": "this machine's"}

    def close(self) -> None:
        """Close both connections and return at once; what another thread is still at is left to the process's end."""
        until = time.monotonic() + CLOSE_S
        with suppress(StoreUnavailable), held(self._write_lock, until), held(self._read_lock, until):
            if self._closed:
                return
            self._closed = True
            # The last connection to close writes the WAL back, which wants the exclusive lock. Whoever holds the guard
            # has the file open, so then ours is not the last, and SQLite only lets go.
            with suppress(BlockingIOError):
                fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for connection in (self._reading, self._writing):
                connection.close()
                connection.engine.dispose()
            self._turn.close()
            os.close(self._guard)

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the database is closed: this process is about to end")

    def _set_busy_timeout(self, wait_s: float) -> sqlite3.Connection:
        raw = self._writing.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        wait_ms = max(0, int(wait_s * 1000))
        wait_ms -= wait_ms % 100 if wait_ms > 1000 else 0  # so that it is seldom another than the one that is set
        if wait_ms != self._busy_ms:
            raw.execute(f"PRAGMA busy_timeout={wait_ms}")
            self._busy_ms = wait_ms
        return raw

    def _checkpoint(self) -> None:
        """Write the WAL back and empty it. The commit before it stands, so failing here is no failure of it."""
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another process is writing; the next command tries again
        try:
            raw = self._set_busy_timeout(CHECKPOINT_S)
            busy, *_ = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                self._checkpoint_after = time.monotonic() + CHECKPOINT_PAUSE_S
        except sqlite3.OperationalError as error:
            self._checkpoint_after = time.monotonic() + CHECKPOINT_PAUSE_S
            log.warning("the WAL was not written back: %s", error)
        finally:
            fcntl.flock(self._guard, fcntl.LOCK_UN)

    def _wal_size(self) -> int:
        try:
            return self._path.with_name(self._path.name + "-wal").stat().st_size
        except FileNotFoundError:
            return 0


def _of(table: str) -> set[str]:
    return {f"{table}_{name}" for name in _TRIGGERS}


def _engine(path: Path, *, writes: bool) -> Engine:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=BUSY_S)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA synchronous={'FULL' if writes else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys=ON")
        if not writes:
            connection.execute("PRAGMA query_only=ON")
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool, hide_parameters=True)
    if not writes:
        return engine.execution_options(isolation_level="AUTOCOMMIT")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _open_guard(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path.with_name("wal.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"the home {path.parent} cannot be used: {error.strerror}",
            next_step="make the folder writable, or name another one with MCP_FORECAST_HOME",
        ) from error


@contextmanager
def _shared(handle: int, until: float) -> Iterator[None]:
    while not _try_shared(handle):
        if time.monotonic() > until:
            raise StoreUnavailable(
                "the database is busy: another process writes its WAL back", next_step="retry with the same key"
            )
        time.sleep(LOOK_S)
    try:
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)


def _try_shared(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise StoreUnavailable(
            f"the database did not {what}: {error.orig}", next_step="retry with the same key"
        ) from error
    except DatabaseError as error:
        if isinstance(error.orig, sqlite3.IntegrityError):
            raise
        raise StoreUnavailable(
            f"the database did not {what}: {error.orig}", next_step="check the disk and the home"
        ) from error

"""A home's database as a schema of a PostgreSQL server, with one held connection that reads and one that writes.

Commands are one at a time, as on SQLite: each begins by taking an advisory lock named after the schema. So the numbers
of the log have no gaps, and what quotas and claims have counted still holds when they write. Two homes in one database
need two schemas, and do not wait for each other.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Final

import psycopg
from psycopg import errors as pg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, RootTransaction
from sqlalchemy.exc import DBAPIError

from mcp_forecast_engine.errors import DataInvalid, OutcomeUnknown, StoreUnavailable
from mcp_forecast_engine.store.database import APPEND_ONLY, BUSY_S, CLOSE_S, Database, held, require_schema
from mcp_forecast_engine.store.postgres_link import (
    READ_ANSWER_S,
    WRITE_ANSWER_S,
    Link,
    NoAnswer,
    ServerClock,
    unhurry,
)

_RETRY: Final = "retry with the same key"
_LOOK: Final = "look into this server's log for what the database said, then mend its address, rights or state"
# One round trip. Each statement sees what was committed before it, so the schema is read as the lock's holder has it.
_BEGIN: Final = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = {wait_ms}; "
    "SELECT pg_advisory_xact_lock({key})"
)
_SCHEMA: Final = "; SELECT version_num FROM alembic_version"
# Over all tables of the log: may this role change one, does it own one, does one lack its triggers (protect makes two).
_KEPT_BY: Final = f"""
SELECT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
  bool_or(has_any_column_privilege(c.oid, 'UPDATE') OR has_table_privilege(c.oid, 'DELETE')
    OR has_table_privilege(c.oid, 'TRUNCATE')),
  bool_or(pg_get_userbyid(c.relowner) = current_user),
  bool_and((SELECT count(*) FROM pg_trigger t
    WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled = 'A') >= 2)
FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname IN {APPEND_ONLY}
"""
log = logging.getLogger(__name__)


class PostgresDatabase(Database):
    """Reads and commands on one schema of a PostgreSQL server; safe for many threads, processes and machines.

    A call that meets a server that is away is refused; the next one after its return works. A transaction whose process
    was stopped or cut off is ended by the server after IDLE_S, a statement after STATEMENT_S (see postgres_link.py).
    """

    kind: ClassVar[str] = "postgresql"
    at_hand: ClassVar[bool] = False

    def __init__(self, address: str, *, schema: str | None = None) -> None:
        """schema: the Alembic revision every command expects; None leaves it unchecked (migrations, tests)."""
        self._schema = schema
        self._clock = ServerClock()
        self._reading, self._writing = (Link(address, self._clock, writes=writes) for writes in (False, True))
        self._read_lock, self._write_lock = threading.RLock(), threading.RLock()
        self._closed = False
        with _translated("open"):
            self._reading.lend()

    @property
    def role(self) -> str:
        """The role whose rights count here."""
        return self._reading.session.role

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Lend the reading connection. Raises StoreUnavailable."""
        with held(self._read_lock, time.monotonic() + READ_ANSWER_S), _translated("read"):
            self._require_open()
            yield self._reading.lend()

    @contextmanager
    def command(self, *, wait_s: float = BUSY_S) -> Iterator[Connection]:
        """One transaction under the home's advisory lock. Raises as Database.command says."""
        until = time.monotonic() + wait_s
        with held(self._write_lock, until), _translated("write"):
            self._require_open()
            connection = self._writing.lend()
            transaction = connection.begin()
            try:
                self._begin(until)
                yield connection
                self._require_whole()
            except BaseException:
                self._undo(transaction)
                raise
            self._commit(transaction)

    def unhurried(self, connection: Connection) -> None:
        """Lift the limits of the server and of this process, until the connection is lent again."""
        unhurry(connection)

    def writing_process(self) -> None:
        """Nobody that has to be found: the server ends whoever stops inside a transaction after a few seconds."""

    def clock(self) -> float:
        """The server's time."""
        return self._clock.now()

    def report(self) -> dict[str, str | bool]:
        """The server's version, what keeps the log append-only, whose clock counts. Raises StoreUnavailable."""
        with self.read() as connection:
            kept = _kept_by(*connection.exec_driver_sql(_KEPT_BY).one())
        session = self._reading.session
        return {
            "server_version": session.version,
            "database_schema": session.schema or "",
            "append_only": kept,
            "clock": f"the server's, {self.clock() - time.time():+.3f} s from this machine's",
        }

    def close(self) -> None:
        """Close both connections and return at once; what another thread is still at is left to the process's end."""
        until = time.monotonic() + CLOSE_S
        with suppress(StoreUnavailable), held(self._write_lock, until), held(self._read_lock, until):
            self._closed = True
            self._reading.drop()
            self._writing.drop()

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the database is closed: this process is about to end")

    def _begin(self, until: float) -> None:
        wait_ms = max(1, int((until - time.monotonic()) * 1000))  # 0 would be for ever
        statements = _BEGIN.format(wait_ms=wait_ms, key=_lock_key(self._writing.session.schema or ""))
        if self._schema is not None:
            statements += _SCHEMA
        # Never prepared: a prepared statement is one alone.
        raw = self._writing.raw
        raw.answer_s = WRITE_ANSWER_S + wait_ms / 1000
        cursor = raw.execute(statements, prepare=False)
        while cursor.nextset():
            pass
        raw.answer_s = WRITE_ANSWER_S
        if self._schema is not None:
            row = cursor.fetchone()
            require_schema(None if row is None else str(row[0]), self._schema)

    def _require_whole(self) -> None:
        """Refuse a commit that is known to be none."""
        if not self._writing.alive():
            raise StoreUnavailable("the database went away before the commit", next_step=_RETRY)
        # PostgreSQL answers COMMIT with a silent rollback when a statement before it has failed.
        if self._writing.raw.info.transaction_status == TransactionStatus.INERROR:
            raise StoreUnavailable("a statement of this command failed, so that nothing of it was written")

    def _undo(self, transaction: RootTransaction) -> None:
        try:
            transaction.rollback()
        except (DBAPIError, psycopg.Error):
            self._writing.drop()

    def _commit(self, transaction: RootTransaction) -> None:
        try:
            transaction.commit()
        except DBAPIError as error:
            answered = self._writing.alive()
            log.warning("a commit failed: %s", _line(error.orig))
            self._writing.drop()
            if answered:  # the server said no: nothing was committed
                raise
            raise OutcomeUnknown(
                "the database went away during a commit",
                next_step="make the same call with the same key: it is done once, whatever happened",
            ) from error


def _lock_key(schema: str) -> int:
    """The advisory lock of the home in this schema: 64 bits, signed."""
    named = hashlib.sha256(b"mcp-forecast home " + schema.encode()).digest()
    return int.from_bytes(named[:8], "big", signed=True)


def _kept_by(superuser: bool, may_change: bool, owner: bool, triggers: bool) -> str:
    grants = not (superuser or may_change)
    kept = " and ".join(name for name, holds in (("grants", grants), ("triggers", triggers)) if holds)
    if superuser:
        return f"{kept or 'nothing'} (the serving role is a superuser: no grant binds it)"
    if owner:
        return f"{kept or 'nothing'} (the serving role owns the tables: it could undo both)"
    return kept or "nothing: the serving role may change the log"


# What a caller is told of a fault: its class. The driver's words name hosts, roles and folders; the log has them.
_FAULTS: Final[tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str, str], ...]] = (
    (pg.LockNotAvailable, "it is busy: another process writes", _RETRY),
    (
        pg.InsufficientPrivilege,
        "permission denied (the log and the registry are append-only; the rest needs its grants)",
        "set MCP_FORECAST_DATABASE_OWNER to the address of the tables' owner, then repeat the command "
        "(for a server: mcp-forecast migrate)",
    ),
    ((NoAnswer, pg.ConnectionTimeout), "the server does not answer", _RETRY),
    (pg.QueryCanceled, "a statement took too long, or was ended by hand", _RETRY),
    (pg.IdleInTransactionSessionTimeout, "this process was held up, so the server ended its transaction", _RETRY),
    (pg.ReadOnlySqlTransaction, "it is read-only here", _LOOK),
    ((pg.DiskFull, pg.OutOfMemory), "the server's disk or memory is full", "free it, then retry with the same key"),
    (pg.TooManyConnections, "the server has no connection left", _RETRY),
    ((pg.AdminShutdown, pg.CrashShutdown, pg.CannotConnectNow), "the server is stopping or starting", _RETRY),
    ((pg.UndefinedTable, pg.UndefinedColumn), "a table or column is missing", "run mcp-forecast migrate"),
    (psycopg.ProgrammingError, "the server did not take a statement", _LOOK),
    (psycopg.OperationalError, "the connection to the server was lost, or there is none", _RETRY),
)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except (DBAPIError, psycopg.Error) as error:
        cause: Any = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, psycopg.IntegrityError):
            raise  # what was written is at fault, not the database
        if not isinstance(cause, pg.LockNotAvailable):
            log.warning("the database did not %s: %s", what, _line(cause))
        if isinstance(cause, psycopg.DataError):
            found = _value_fault(cause)
            raise DataInvalid(
                f"a value of this call is none that the database can hold: {found}",
                next_step="correct that value and call again",
            ) from error
        raise _unavailable(what, cause) from error


def _unavailable(what: str, cause: BaseException) -> StoreUnavailable:
    if isinstance(cause, psycopg.OperationalError) and "FATAL:" in str(cause) and cause.sqlstate is None:
        # libpq tells why a connection was refused in words alone, and in the server's language.
        refused = "the server refused the connection: its user, password or database, or it is starting"
        return StoreUnavailable(f"the database did not {what}: {refused}", next_step=f"{_RETRY}; if it stays, {_LOOK}")
    for kinds, text, next_step in _FAULTS:
        if isinstance(cause, kinds):
            return StoreUnavailable(f"the database did not {what}: {text}", next_step=next_step)
    return StoreUnavailable(f"the database did not {what}: the server met a fault of its own", next_step=_LOOK)


def _value_fault(cause: psycopg.DataError) -> str:
    if cause.sqlstate is None:  # psycopg's own refusal
        return "a text holds a NUL character"
    return "a number is out of range" if isinstance(cause, pg.NumericValueOutOfRange) else "its form or size"


def _line(cause: BaseException | None) -> str:
    return " ".join(str(cause).split())

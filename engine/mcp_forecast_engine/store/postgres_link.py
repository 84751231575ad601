"""One held connection to a PostgreSQL server: looked at before it is lent, opened again after an outage."""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from mcp_forecast_engine.errors import StoreUnavailable

R = TypeVar("R")
IDLE_S: Final = 5  # less than BUSY_S, so that who waits for a stopped process outlasts it
STATEMENT_S: Final = 60
READ_ANSWER_S: Final = 5.0  # a server that is silent this long during a read is given up; a frozen one never ends it
WRITE_ANSWER_S: Final = 20.0
MEASURE_S: Final = 30.0
SLOW_S: Final = 0.5  # a refused connection is quick; this long, nobody answers at all
# What an address leaves unsaid. A server that cannot be reached any more is noticed within about ten seconds.
_UNSAID: Final[dict[str, Any]] = {
    "connect_timeout": 2, "application_name": "mcp-forecast", "client_encoding": "utf8", "keepalives_idle": 4,
    "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000,
}  # fmt: skip
_SESSION: Final = (
    f"SET idle_in_transaction_session_timeout = '{IDLE_S}s'; SET statement_timeout = '{STATEMENT_S}s'; "
    "SET default_transaction_read_only = {read_only}; "
    "SELECT current_schema(), current_user, current_setting('server_version'), current_setting('server_encoding')"
)
_TIME: Final = "SELECT extract(epoch FROM clock_timestamp())::float8"


class NoAnswer(psycopg.OperationalError):
    """The server holds the connection and says nothing."""


class Raw(psycopg.Connection[tuple[Any, ...]]):
    """A connection of psycopg that waits at most `answer_s` for the server's next word, then closes itself."""

    answer_s = WRITE_ANSWER_S

    def wait(self, gen: Generator[Any, Any, R], *args: Any, **kwargs: Any) -> R:
        """Wait as psycopg does. Raises NoAnswer."""
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, steps: Generator[Any, Any, R]) -> Generator[Any, Any, R]:
        # psycopg waits a tenth of a second at a time, and says each time whether anything came.
        heard = time.monotonic()
        try:
            wanted = next(steps)
            while True:
                came = yield wanted
                if came:
                    heard = time.monotonic()
                elif time.monotonic() - heard > self.answer_s:
                    self.close()
                    raise NoAnswer(f"no answer within {self.answer_s:g} s")
                wanted = steps.send(came)
        except StopIteration as end:
            found: R = end.value
            return found


@dataclass(frozen=True)
class Session:
    """Where a connection has arrived: schema (tables are made and found there), role, server version and encoding."""

    schema: str | None
    role: str
    version: str
    encoding: str


def since_boot() -> float:
    """Seconds since this machine was started, those it slept among them where it can tell (Linux)."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class ServerClock:
    """The server's time, measured against this machine's monotonic clock at most every MEASURE_S."""

    def __init__(self, monotonic: Callable[[], float] = since_boot) -> None:
        self._monotonic = monotonic
        self._offset, self._due = 0.0, float("-inf")

    def now(self) -> float:
        """Seconds since 1970, UTC; needs no server."""
        return self._monotonic() + self._offset

    def measure(self, ask: Callable[[], float]) -> None:
        """Ask the server for its time if that is due; the answer was true half a round trip ago."""
        began = self._monotonic()
        if began < self._due:
            return
        found = ask()
        ended = self._monotonic()
        self._offset, self._due = found - (began + ended) / 2, ended + MEASURE_S


class Link:
    """A connection of SQLAlchemy that commits each statement by itself, unless BEGIN was said on it.

    Lend it under a lock: it serves one thread at a time.
    """

    def __init__(self, address: str, clock: ServerClock, *, writes: bool) -> None:
        """Raises StoreUnavailable when the address cannot be read; nothing is connected yet."""
        self._wanted, self._clock, self._writes = _parameters(address), clock, writes
        self._connection: Connection | None = None
        self._silent_until = float("-inf")
        self.session = Session(None, "", "", "")
        # No pool: this class holds the connection, and whoever closes it wants it closed.
        engine = create_engine(
            "postgresql+psycopg://", creator=self._connect, poolclass=NullPool, use_native_hstore=False,
            hide_parameters=True,
        )  # fmt: skip
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    def lend(self) -> Connection:
        """The connection, a new one if the server has closed the old. Raises DBAPIError, psycopg.Error."""
        if self._connection is not None and not self.alive():
            self.drop()
        if self._connection is None:
            self._connection = self._engine.connect()
        raw = self.raw
        raw.answer_s = WRITE_ANSWER_S if self._writes else READ_ANSWER_S
        self._clock.measure(lambda: float(_one(raw, _TIME)[0]))
        return self._connection

    @property
    def raw(self) -> Raw:
        """The connection as psycopg has it."""
        assert self._connection is not None
        return raw_of(self._connection)

    def alive(self) -> bool:
        """Whether the server still holds its end, as far as this machine knows; asks nobody.

        Nothing is to be read from an idle connection but its end, or news of the server that a new one need not know.
        """
        if self._connection is None or self._connection.invalidated or self._connection.closed or self.raw.closed:
            return False
        poll = select.poll()
        poll.register(self.raw.fileno(), select.POLLIN)
        return not poll.poll(0)

    def drop(self) -> None:
        """Close the connection; the next loan opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(DBAPIError, psycopg.Error):
                connection.invalidate()
            with suppress(DBAPIError, psycopg.Error):
                connection.close()

    def _connect(self) -> Raw:
        raw = self._dial()
        try:
            self.session = Session(*_one(raw, _SESSION.format(read_only="off" if self._writes else "on")))
            _check(self.session)
        except BaseException:
            raw.close()
            raise
        return raw

    def _dial(self) -> Raw:
        """Connect; whoever was not answered at all waits as long again, so that callers are not held up one by one."""
        began = time.monotonic()
        if began < self._silent_until:
            raise StoreUnavailable("the database does not answer", next_step="retry with the same key")
        try:
            return Raw.connect(**self._wanted, autocommit=True)
        except psycopg.OperationalError:
            ended = time.monotonic()
            if ended - began > SLOW_S:
                self._silent_until = ended + (ended - began)
            raise


def raw_of(connection: Connection) -> Raw:
    """The connection as psycopg has it."""
    found = connection.connection.driver_connection
    assert isinstance(found, Raw)
    return found


def unhurry(connection: Connection) -> None:
    """Lift every limit on how long the rest of this transaction may take."""
    for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
        connection.exec_driver_sql(f"SET LOCAL {limit} = 0")
    raw_of(connection).answer_s = math.inf


def _parameters(address: str) -> dict[str, Any]:
    try:
        found = conninfo_to_dict(address.replace("postgresql+psycopg://", "postgresql://", 1))
    except psycopg.ProgrammingError:
        found = {"port": "none"}
    # A password with an unescaped @, : or / ends up in host or port, and libpq would tell everybody.
    ports = str(found.get("port") or "").split(",")
    if "@" in str(found.get("host") or "") or not all(port.isdecimal() for port in ports if port):
        raise StoreUnavailable(
            "the address of the PostgreSQL database cannot be read",
            next_step="write it as postgresql://user:password@host:port/name, with %40 for an @, %3A for a : and %2F "
            "for a / inside the user's name or the password",
        )
    return _UNSAID | found


def _check(session: Session) -> None:
    if session.encoding != "UTF8":
        raise StoreUnavailable(
            f"the PostgreSQL database has the encoding {session.encoding}, which cannot keep every name",
            allowed="UTF8",
            next_step="create a database WITH ENCODING 'UTF8' TEMPLATE template0 and name that one",
        )
    if session.schema is None:
        raise StoreUnavailable(
            f"no schema on the search path of role {session.role} exists",
            next_step="create the schema, or correct search_path in the address or of the role",
        )


def _one(raw: Raw, statements: str) -> tuple[Any, ...]:
    """The only row of the last of several statements, sent in one round trip."""
    # Never prepared: a prepared statement is one alone.
    cursor = raw.execute(statements, prepare=False)
    while cursor.nextset():
        pass
    row = cursor.fetchone()
    assert row is not None
    found: tuple[Any, ...] = row
    return found

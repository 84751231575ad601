"""The truth store: what the database of a home offers, whichever it is, and the opening of the one an address names."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from mcp_forecast_engine.errors import HomeNewer, StoreUnavailable
from mcp_forecast_engine.store.address import Address, is_postgres

if TYPE_CHECKING:
    from sqlalchemy import Connection

BUSY_S: Final = 10.0
READ_WAIT_S: Final = 2.0  # a short read runs on the event loop, and waits there for a long one of another thread
CLOSE_S: Final = 0.1  # what other threads are at may take this long when the database is closed


# What is only added to: the log, which the audit part owns, and the registry. Migrations protect them; a test compares.
APPEND_ONLY: Final = (
    "audit_checkpoint", "audit_entry", "audit_key", "audit_node", "audit_ref", "bundle", "registry_event",
)  # fmt: skip


class Database(ABC):
    """Reads and commands on the database of one home; safe for many threads and many processes.

    Commands are one at a time in a home, whoever gives them, so that what one has read still holds when it writes.
    """

    kind: ClassVar[str]
    at_hand: ClassVar[bool]  # a short read may run on the event loop: nobody else can keep its answer back

    @abstractmethod
    def read(self) -> AbstractContextManager[Connection]:
        """Lend the held reading connection; each statement sees the newest commit. Raises StoreUnavailable."""

    @abstractmethod
    def command(self, *, wait_s: float = BUSY_S) -> AbstractContextManager[Connection]:
        """One transaction: all of the block's statements are committed, or none; a returned commit survives a crash.

        Raises StoreUnavailable, also when other writers leave it no turn within wait_s (0: now or never); its subclass
        OutcomeUnknown when the database went away during the commit; HomeNewer when the schema is another one.
        """

    @abstractmethod
    def unhurried(self, connection: Connection) -> None:
        """Let the rest of this transaction take as long as it needs: a copy of everything, a migration."""

    @abstractmethod
    def writing_process(self) -> int | None:
        """The pid of another process of this host that keeps everyone from writing now, None if there is none.

        None too where the database itself ends whoever stops inside a transaction.
        """

    @abstractmethod
    def clock(self) -> float:
        """Seconds since 1970, UTC, as everyone who shares this database reads them."""

    @abstractmethod
    def report(self) -> dict[str, str | bool]:
        """What this database is, what keeps its log append-only and whose clock counts. Raises StoreUnavailable."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections and return at once; what another thread is at is left to the process's end."""


def open_database(address: Address, *, schema: str | None = None) -> Database:
    """Open a SQLite file (a path) or a PostgreSQL database (a URL).

    schema: the Alembic revision every command expects; None leaves it unchecked (migrations, tests).
    Raises StoreUnavailable.
    """
    if not is_postgres(address):
        from mcp_forecast_engine.store.sqlite import SqliteDatabase

        return SqliteDatabase(Path(address), schema=schema)
    try:
        from mcp_forecast_engine.store.postgres import PostgresDatabase
    except ImportError as error:
        raise StoreUnavailable(
            f"PostgreSQL needs psycopg, which cannot be loaded: {error}",
            next_step="pip install 'mcp-forecast[postgres]', then start again",
        ) from error
    return PostgresDatabase(str(address), schema=schema)


def require_schema(found: str | None, expected: str) -> None:
    """Let a command go on only on the schema it was written for. Raises HomeNewer, StoreUnavailable (an older one)."""
    if found == expected:
        return
    if found is not None and found > expected:
        raise newer_home(found, expected)
    raise StoreUnavailable(
        f"the home was taken back to schema {found}, this version writes {expected}",
        next_step="end this server; starting it again brings the schema forward",
    )


def newer_home(found: str, expected: str) -> HomeNewer:
    """The refusal of a home whose schema this version does not know."""
    return HomeNewer(
        f"the home has schema {found}, this version knows up to {expected}",
        allowed=expected,
        next_step="upgrade mcp-forecast (pip install --upgrade mcp-forecast) and start it again, or use another home",
    )


@contextmanager
def held(lock: threading.RLock, until: float) -> Iterator[None]:
    """Hold a lock, waiting for it until a monotonic time. Raises StoreUnavailable."""
    if not lock.acquire(timeout=max(0.0, until - time.monotonic())):
        raise StoreUnavailable(
            "the database is busy: another call of this process has it", next_step="retry with the same key"
        )
    try:
        yield
    finally:
        lock.release()

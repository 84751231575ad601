"""The schema of a home's database: its revisions, and the migrations between them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mcp_forecast.home.folder import locked, name_file, usable
from mcp_forecast.home.read_only import read_only_uri
from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store.address import Address, is_postgres
from mcp_forecast_engine.store.database import newer_home, open_database

if TYPE_CHECKING:
    from sqlalchemy import Connection

REVISION: Final = "0004"  # the newest file in migrations/versions; a test compares
REVISIONS: Final = ("0001", "0002", "0003", "0004")
NAMED_SINCE: Final = "0002"  # the first revision whose database carries the home's name
REGISTRY_SINCE: Final = "0003"  # the first revision that has a registry
MIGRATE_WAIT_S: Final = 60.0


def revision_of(database: Path) -> str | None:
    """The schema revision a SQLite file carries, None when it is empty or absent; makes no file.

    Raises HomeNewer when this version does not know it, StoreUnavailable.
    """
    try:
        if not database.exists():
            return None
        connection = sqlite3.connect(read_only_uri(database), uri=True, timeout=10)
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if "no such table" in str(error):
            return None
        raise _unreadable(database, error) from error
    except OSError as error:
        raise StoreUnavailable(f"{database.name} cannot be read: {error.strerror}", next_step=_MEND) from error
    return None if row is None else _known(str(row[0]))


def require_schema(home: Path, found: str | None) -> None:
    """Refuse to look at a home of another schema than this version's: who only reads does not migrate.

    found: the revision it has, None: none. Raises StoreUnavailable.
    """
    if found is None:
        raise StoreUnavailable(f"there is no log in {home}", next_step="name the home with MCP_FORECAST_HOME")
    if found != REVISION:
        raise StoreUnavailable(
            f"the rows of {home} have the older schema {found}",
            next_step="start a server of this home once, or run mcp-forecast migrate",
        )


def migrate(home: Path, address: Address = "", *, owner: str = "", to: str = REVISION) -> str | None:
    """Bring a home's schema to a revision, up or down, and return the one it had (None: nothing yet).

    One process at a time, and while no command runs. On PostgreSQL the role that serves at `address` is granted what
    it needs. Raises HomeNewer, StoreUnavailable.
    """
    where = address or home / "forecast.db"
    with usable(home):
        if is_postgres(where):
            # The lock that every command takes lets one in at a time, from any machine.
            found = upgrade(owner or where, to, serving=_role(where) if owner else "")
        else:
            with locked(home, alone=True):
                found = upgrade(where, to)
        if to < NAMED_SINCE or to == "base":
            name_file(home).unlink(missing_ok=True)  # the database has lost the name, and will be given another
    return found


def upgrade(address: Address, to: str = REVISION, *, serving: str = "") -> str | None:
    """Run the migrations on one database in one transaction, up or down; returns the revision it had.

    serving: the PostgreSQL role to be granted what serving needs, also where nothing is to migrate; empty is the one
    that migrates.
    """
    store = open_database(address)
    try:
        with store.command(wait_s=MIGRATE_WAIT_S) as connection:
            found = revision_in(connection)  # as the lock's holder sees it: another process may have been faster
            if found != to:
                store.unhurried(connection)
                _run(connection, found, to)
            if store.kind == "postgresql" and to != "base":
                _grant(connection, serving)
    finally:
        store.close()
    return found


def _role(address: Address) -> str:
    database = open_database(address)
    try:
        with database.read() as connection:
            return str(connection.exec_driver_sql("SELECT current_user").scalar_one())
    finally:
        database.close()


def _run(connection: Connection, found: str | None, to: str) -> None:
    """Migrate inside the caller's transaction; Alembic is imported only here."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
    config.attributes["connection"] = connection
    forward = to != "base" and (found is None or found < to)
    (command.upgrade if forward else command.downgrade)(config, to)


def _grant(connection: Connection, serving: str) -> None:
    """Grant what serving needs, if the tables are ours: a role that serves already may have been named since."""
    from mcp_forecast.migrations.append_only import grant

    role, ours = connection.exec_driver_sql(_OURS).one()
    if ours:
        grant(connection, serving or str(role))


def revision_in(connection: Connection) -> str | None:
    """The schema revision of an open database, None where it has none. Raises HomeNewer."""
    from sqlalchemy import inspect

    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else _known(str(found))


_MEND: Final = "make the home's folder writable or free its disk, then retry"
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_OURS: Final = (
    "SELECT current_user, pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'alembic_version'::regclass"
)


def _unreadable(database: Path, error: sqlite3.DatabaseError) -> StoreUnavailable:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
        return StoreUnavailable(f"{database.name} is no usable database: {error}", next_step="restore a backup")
    return StoreUnavailable(f"{database.name} cannot be read: {error}", next_step=_MEND)


def _known(revision: str) -> str:
    if revision not in REVISIONS:
        raise newer_home(revision, REVISION)
    return revision

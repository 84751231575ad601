"""One home = one project = one folder and its database: made on first use, the schema brought to this version's."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store.address import Address, is_postgres
from mcp_forecast_engine.store.database import Database, newer_home, open_database

if TYPE_CHECKING:
    from sqlalchemy import Connection

REVISION: Final = "0002"  # the newest file in migrations/versions; a test compares
REVISIONS: Final = ("0001", "0002")
NAMED_SINCE: Final = "0002"  # the first revision whose database carries the home's name
MIGRATE_WAIT_S: Final = 60.0


def open_home(home: Path, address: Address = "", *, owner: str = "") -> Database:
    """The home's database at this version's schema.

    address: empty is `<home>/forecast.db`, else a SQLite path or a PostgreSQL URL; owner: a URL for migrations alone.
    Raises HomeNewer, StoreUnavailable; the latter also when this folder belongs to another database.
    """
    where = address or home / "forecast.db"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not is_postgres(where) and revision_of(Path(where)) != REVISION:
            migrate(home, where)
        database = open_database(where, schema=REVISION)
        try:
            _come_forward(home, where, owner, database)
            _keep_together(home, database)
        except BaseException:
            database.close()
            raise
    except OSError as error:
        raise StoreUnavailable(
            f"the home {home} cannot be used: {error.strerror}",
            next_step="make the folder writable, or name another one with MCP_FORECAST_HOME",
        ) from error
    return database


def revision_of(database: Path) -> str | None:
    """The schema revision a SQLite file carries, None when it is empty or absent; makes no file.

    Raises HomeNewer when this version does not know it, StoreUnavailable.
    """
    if not database.exists():
        return None
    try:
        connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if "no such table" in str(error):
            return None
        raise StoreUnavailable(
            f"{database.name} is no usable database: {error}", next_step="restore a backup"
        ) from error
    return None if row is None else _known(str(row[0]))


def migrate(home: Path, address: Address = "", *, owner: str = "", to: str = REVISION) -> str | None:
    """Bring a home's schema to a revision, up or down, and return the one it had (None: nothing yet).

    One process at a time, and while no command runs. On PostgreSQL the role that serves at `address` is granted what
    it needs. Raises HomeNewer, StoreUnavailable.
    """
    where = address or home / "forecast.db"
    if is_postgres(where):
        # The lock that every command takes lets one in at a time, from any machine.
        found = upgrade(owner or where, to, serving=_role(where) if owner else "")
    else:
        with _alone(home):
            found = upgrade(where, to)
    if to < NAMED_SINCE or to == "base":
        _name_file(home).unlink(missing_ok=True)  # the database has lost the name, and will be given another
    return found


def upgrade(address: Address, to: str = REVISION, *, serving: str = "") -> str | None:
    """Run the migrations on one database in one transaction, up or down; returns the revision it had.

    serving: the PostgreSQL role to be granted what serving needs; empty is the one that migrates.
    """
    store = open_database(address)
    try:
        with store.command(wait_s=MIGRATE_WAIT_S) as connection:
            found = _revision(connection)  # as the lock's holder sees it: another process may have been faster
            if found != to:
                _run(connection, found, to, serving)
    finally:
        store.close()
    return found


def _come_forward(home: Path, where: Address, owner: str, database: Database) -> None:
    if not is_postgres(where):
        return
    with database.read() as connection:
        found = _revision(connection)
    if found != REVISION:
        migrate(home, where, owner=owner)


def _keep_together(home: Path, database: Database) -> None:
    """Write the database's name into the folder, or refuse a folder that carries another one."""
    with database.read() as connection:
        name = str(connection.exec_driver_sql("SELECT home_id FROM home").scalar_one())
    file = _name_file(home)
    try:
        found = file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        unseen = file.with_name(f".home.id-{os.getpid()}")  # nobody reads half a name
        unseen.write_text(name + "\n", encoding="utf-8")
        os.replace(unseen, file)
        return
    if found != name:
        raise StoreUnavailable(
            f"the folder {home} belongs to the database of {found}, and this one is that of {name}",
            next_step="name the folder with MCP_FORECAST_HOME or the database with MCP_FORECAST_DATABASE that belong "
            "together; if this folder shall belong to this database from now on, remove its file home.id",
        )


def _name_file(home: Path) -> Path:
    return home / "home.id"


def _role(address: Address) -> str:
    database = open_database(address)
    try:
        with database.read() as connection:
            return str(connection.exec_driver_sql("SELECT current_user").scalar_one())
    finally:
        database.close()


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Servers that start together must not migrate twice."""
    handle = os.open(home / "migrate.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _run(connection: Connection, found: str | None, to: str, serving: str) -> None:
    """Migrate inside the caller's transaction; Alembic is imported only here."""
    from alembic import command
    from alembic.config import Config

    postgres = connection.dialect.name == "postgresql"
    if postgres:
        # A migration may take its time; these limits hold for this transaction alone.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    forward = to != "base" and (found is None or found < to)
    (command.upgrade if forward else command.downgrade)(config, to)
    if postgres and to != "base":
        from mcp_forecast.migrations.append_only import grant

        grant(connection, serving or str(connection.exec_driver_sql("SELECT current_user").scalar_one()))


def _revision(connection: Connection) -> str | None:
    from sqlalchemy import inspect

    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else _known(str(found))


def _known(revision: str) -> str:
    if revision not in REVISIONS:
        raise newer_home(revision, REVISION)
    return revision

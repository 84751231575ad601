"""One home = one project = one folder and its database: made on first use, the schema brought to this version's."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mcp_forecast.read_only import read_only_uri
from mcp_forecast_engine.errors import HomeMismatch, StoreUnavailable
from mcp_forecast_engine.store.address import Address, is_postgres
from mcp_forecast_engine.store.database import Database, newer_home, open_database
from mcp_forecast_engine.store.folder_lock import folder_lock

if TYPE_CHECKING:
    from sqlalchemy import Connection

REVISION: Final = "0002"  # the newest file in migrations/versions; a test compares
REVISIONS: Final = ("0001", "0002")
NAMED_SINCE: Final = "0002"  # the first revision whose database carries the home's name
MIGRATE_WAIT_S: Final = 60.0
OPEN_WAIT_S: Final = 10.0
LOCK: Final = "migrate.lock"  # shared by who opens the home, held alone by who migrates or restores it
NAME_FILE: Final = "home.id"
RESTORING: Final = ".restoring"  # what a restore prepares; it is there no longer when that has ended, unless killed


def open_home(home: Path, address: Address = "", *, owner: str = "") -> Database:
    """The home's database at this version's schema.

    address: empty is `<home>/forecast.db`, else a SQLite path or a PostgreSQL URL; owner: a URL for migrations alone.
    Raises HomeNewer, StoreUnavailable; the latter also when this folder belongs to another database, and while it is
    restored, or was and is not whole.
    """
    where = address or home / "forecast.db"
    with _usable(home):
        if not is_postgres(where) and revision_of(Path(where)) != REVISION:
            _require_here(home, Path(where))
            migrate(home, where)
        with _locked(home, alone=False):
            database = open_database(where, schema=REVISION)
            try:
                came = _come_forward(home, where, owner, database)
                _keep_together(home, database, from_before_names=came)
            except BaseException:
                database.close()
                raise
    return database


def _require_here(home: Path, database: Path) -> None:
    if is_named(home) and not database.exists():
        raise HomeMismatch(
            f"the rows of {home} are not in {database.name}, which is gone or was never there",
            next_step="set MCP_FORECAST_DATABASE to the database of this home, or restore a backup into a new one",
        )


def is_named(home: Path) -> bool:
    """Whether this folder says which database it belongs to; nobody who only tidies up or copies may settle that."""
    return _name_file(home).exists()


def name_folder(home: Path, home_id: str) -> None:
    """Write into the folder which database it belongs to. Raises OSError."""
    file = _name_file(home)
    unseen = file.with_name(f".home.id-{os.getpid()}")  # nobody reads half a name
    unseen.write_text(home_id + "\n", encoding="utf-8")
    os.replace(unseen, file)


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


def migrate(home: Path, address: Address = "", *, owner: str = "", to: str = REVISION) -> str | None:
    """Bring a home's schema to a revision, up or down, and return the one it had (None: nothing yet).

    One process at a time, and while no command runs. On PostgreSQL the role that serves at `address` is granted what
    it needs. Raises HomeNewer, StoreUnavailable.
    """
    where = address or home / "forecast.db"
    with _usable(home):
        if is_postgres(where):
            # The lock that every command takes lets one in at a time, from any machine.
            found = upgrade(owner or where, to, serving=_role(where) if owner else "")
        else:
            with _locked(home, alone=True):
                found = upgrade(where, to)
        if to < NAMED_SINCE or to == "base":
            _name_file(home).unlink(missing_ok=True)  # the database has lost the name, and will be given another
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


def _come_forward(home: Path, where: Address, owner: str, database: Database) -> bool:
    """Migrate a PostgreSQL database if need be; tells whether it was used before databases carried a name."""
    if not is_postgres(where):
        return False
    with database.read() as connection:
        found = revision_in(connection)
    # One of the schema before names was taken back to it, which took the folder's name along.
    if found is None or found >= NAMED_SINCE:
        _require_unused(home)
    if found != REVISION:
        migrate(home, where, owner=owner)
    return found is not None and found < NAMED_SINCE


_USES: Final = {"forecast.db": "forecast.db", "artifacts": "artifacts/??/*"}


def _require_unused(home: Path) -> None:
    """Let a PostgreSQL database have a folder without a name only if it holds nothing of another database."""
    used = [name for name, one in _USES.items() if next(home.glob(one), None) is not None]
    if used and not is_named(home):
        raise HomeMismatch(
            f"the folder {home} holds {' and '.join(used)}, which are not of this PostgreSQL database",
            next_step="unset MCP_FORECAST_DATABASE to go on with forecast.db; to move it into PostgreSQL run "
            "mcp-forecast backup like that, then mcp-forecast restore into a new MCP_FORECAST_HOME with the database",
        )


def _keep_together(home: Path, database: Database, *, from_before_names: bool) -> None:
    """Write the database's name into the folder, or refuse a folder that carries another one."""
    with database.read() as connection:
        name = str(connection.exec_driver_sql("SELECT home_id FROM home").scalar_one())
        served = connection.exec_driver_sql("SELECT process_id FROM process LIMIT 1").first() is not None
    file = _name_file(home)
    try:
        found = file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        if served and database.kind != "sqlite" and not from_before_names:
            raise HomeMismatch(
                f"the database is that of {name}, whose artifacts are in another folder than {home}",
                next_step="servers that share a database share its home folder too: mount that one, and name it with "
                "MCP_FORECAST_HOME",
            ) from None
        name_folder(home, name)
        return
    if found != name:
        raise HomeMismatch(
            f"the folder {home} belongs to the database of {found}, and this one is that of {name}",
            next_step="name the folder with MCP_FORECAST_HOME or the database with MCP_FORECAST_DATABASE that belong "
            "together; if this folder shall belong to this database from now on, remove its file home.id",
        )


def _name_file(home: Path) -> Path:
    return home / NAME_FILE


def _role(address: Address) -> str:
    database = open_database(address)
    try:
        with database.read() as connection:
            return str(connection.exec_driver_sql("SELECT current_user").scalar_one())
    finally:
        database.close()


@contextmanager
def _usable(home: Path) -> Iterator[None]:
    """See that the folder is there, and say what helps where it, or what is in it, cannot be used."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"the home {home} cannot be used: {error.strerror}",
            next_step="make the folder writable, or name another one with MCP_FORECAST_HOME",
        ) from error


@contextmanager
def _locked(home: Path, *, alone: bool) -> Iterator[None]:
    """Servers that start together must not migrate twice, and none may see half a restored home."""
    busy = "another process is restoring or migrating this home"
    with folder_lock(home / LOCK, alone=alone, within_s=OPEN_WAIT_S, busy=busy):
        if (home / RESTORING).exists():
            raise StoreUnavailable(
                f"the home {home} is not whole: its restore was killed", next_step="run the same restore again"
            )
        yield


def _run(connection: Connection, found: str | None, to: str) -> None:
    """Migrate inside the caller's transaction; Alembic is imported only here."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
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

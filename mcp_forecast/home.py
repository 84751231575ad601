"""One home = one project = one folder: made on first use, its schema brought to this version's revision."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final

from mcp_forecast_engine.errors import HomeNewer, StoreUnavailable
from mcp_forecast_engine.store.database import Database

REVISION: Final = "0002"  # the newest file in migrations/versions; a test compares
_KNOWN: Final = ("0001", "0002")


def open_home(home: Path, database: Path) -> Database:
    """The home's database at this version's schema. Raises HomeNewer, StoreUnavailable."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = revision_of(database)
        if found != REVISION:
            _migrate(home, database)
    except OSError as error:
        raise StoreUnavailable(
            f"the home {home} cannot be used: {error.strerror}",
            next_step="make the folder writable, or name another one with MCP_FORECAST_HOME",
        ) from error
    return Database(database, schema=REVISION)


def revision_of(database: Path) -> str | None:
    """The schema revision a database file carries, None when it is empty or absent. Raises HomeNewer when unknown."""
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
    if row is not None and row[0] not in _KNOWN:
        raise HomeNewer(f"the home has schema {row[0]}, this version knows up to {REVISION}", allowed=list(_KNOWN))
    return None if row is None else str(row[0])


def _migrate(home: Path, database: Path) -> None:
    """Upgrade under a lock: servers that start together must not migrate twice."""
    handle = os.open(home / "migrate.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if revision_of(database) != REVISION:
            upgrade(database)
    finally:
        os.close(handle)


def upgrade(database: Path, revision: str = "head") -> None:
    """Run the migrations; Alembic is imported only here."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    store = Database(database)
    try:
        with store.command() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    finally:
        store.close()

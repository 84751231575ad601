"""One home = one project = one folder and its database: made on first use, the schema brought to this version's."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mcp_forecast.home.folder import is_named, locked, name_file, name_folder, usable
from mcp_forecast.home.schema import NAMED_SINCE, REVISION, migrate, revision_in, revision_of
from mcp_forecast_engine.errors import HomeMismatch
from mcp_forecast_engine.store.address import Address, is_postgres
from mcp_forecast_engine.store.database import Database, open_database


def open_home(home: Path, address: Address = "", *, owner: str = "") -> Database:
    """The home's database at this version's schema.

    address: empty is `<home>/forecast.db`, else a SQLite path or a PostgreSQL URL; owner: a URL for migrations alone.
    Raises HomeNewer, StoreUnavailable; the latter also when this folder belongs to another database, and while it is
    restored, or was and is not whole.
    """
    where = address or home / "forecast.db"
    with usable(home):
        if not is_postgres(where) and revision_of(Path(where)) != REVISION:
            _require_here(home, Path(where))
            migrate(home, where)
        with locked(home, alone=False):
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
    file = name_file(home)
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

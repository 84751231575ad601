"""The log of a home that is only looked at: beside a server or without one, and no home is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_forecast.settings import Settings

if TYPE_CHECKING:
    from mcp_forecast_audit.verify import Read


@contextmanager
def opened_log(settings: Settings) -> Iterator[tuple[Read, str]]:
    """Lend how to read this home's log, and the home's id. Raises StoreUnavailable, HomeNewer; makes no home."""
    from mcp_forecast.home.read_only import reading
    from mcp_forecast.home.schema import REVISION, revision_in, revision_of
    from mcp_forecast.home.sealing import home_id_of
    from mcp_forecast_engine.store.address import is_postgres
    from mcp_forecast_engine.store.database import open_database

    if is_postgres(settings.address):
        database = open_database(settings.address)
        try:
            with database.read() as connection:
                _require_log(settings, revision_in(connection), REVISION)
                home_id = home_id_of(connection)
            yield database.read, home_id
        finally:
            database.close()
        return
    file = Path(settings.address)
    _require_log(settings, revision_of(file), REVISION)
    with reading(file) as read:
        with read() as connection:
            home_id = home_id_of(connection)
        yield read, home_id


def _require_log(settings: Settings, found: str | None, expected: str) -> None:
    from mcp_forecast_engine.errors import StoreUnavailable

    if found is None:
        raise StoreUnavailable(f"there is no log in {settings.home}", next_step="name the home with MCP_FORECAST_HOME")
    if found != expected:
        raise StoreUnavailable(
            f"the log in {settings.home} has the older schema {found}",
            next_step="start a server of this home once, or run mcp-forecast migrate",
        )

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
    from mcp_forecast.home.schema import require_schema, revision_in, revision_of
    from mcp_forecast.home.sealing import home_id_of
    from mcp_forecast_engine.store.address import is_postgres
    from mcp_forecast_engine.store.database import open_database

    if is_postgres(settings.address):
        database = open_database(settings.address)
        try:
            with database.read() as connection:
                require_schema(settings.home, revision_in(connection))
                home_id = home_id_of(connection)
            yield database.read, home_id
        finally:
            database.close()
        return
    file = Path(settings.address)
    require_schema(settings.home, revision_of(file))
    with reading(file) as read:
        with read() as connection:
            home_id = home_id_of(connection)
        yield read, home_id

"""Upkeep of a home that is there: its collection, whose roots are its rows; what went is on record."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import mcp_forecast_audit.tables  # noqa: F401
from mcp_forecast.home.folder import is_named
from mcp_forecast.home.opening import open_home
from mcp_forecast.home.schema import require_schema, revision_in, revision_of
from mcp_forecast.migrations.metadata import METADATA
from mcp_forecast.settings import Settings
from mcp_forecast.upkeep.entry import enter
from mcp_forecast.upkeep.manifest import ARTIFACTS
from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store.address import Address, is_postgres
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.collection import Collection, collect, digests_named
from mcp_forecast_engine.store.database import Database, open_database
from mcp_forecast_engine.store.snapshot import artifacts_named, one_view


def open_existing(settings: Settings, *, migrating: bool = True) -> Database:
    """The database of a home that is there: upkeep makes none.

    migrating: False refuses a home of another schema. Raises StoreUnavailable, HomeNewer.
    """
    place = settings.home if is_postgres(settings.address) else Path(settings.address)
    if not place.exists():
        raise StoreUnavailable(f"there is no home at {settings.home}", next_step="name it with MCP_FORECAST_HOME")
    if not is_named(settings.home):
        raise StoreUnavailable(
            f"the folder {settings.home} does not say which database it belongs to",
            next_step="start a server on it once (mcp-forecast serve), which settles that",
        )
    if not migrating:
        require_schema(settings.home, _revision(settings.address))
    return open_home(settings.home, settings.address, owner=settings.database_owner)


def _revision(address: Address) -> str | None:
    if not is_postgres(address):
        return revision_of(Path(address))
    with closing(open_database(address)) as database, database.read() as connection:
        return revision_in(connection)


def collect_home(settings: Settings, *, older_than_s: float, dry_run: bool, clock: Callable[[], float]) -> Collection:
    """Remove the artifacts of this home that no row refers to and that were put longer ago; servers may be at work.

    clock: of the machine that the files' times are of. Raises StoreUnavailable (also while a backup or another
    collection is at work), HomeNewer.
    """
    database = open_existing(settings)

    def named() -> set[str]:
        with one_view(database) as view:
            return digests_named(view, METADATA.sorted_tables) | artifacts_named(view)

    try:
        artifacts = ArtifactStore(settings.home / ARTIFACTS)
        done = collect(artifacts, named, before=clock() - older_than_s, dry_run=dry_run)
        if not dry_run:
            refs = {"removed": str(done.removed), "bytes": str(done.removed_bytes)}
            with database.command() as connection:
                enter(connection, "GC", refs, now=database.clock())
    finally:
        database.close()
    return done

"""`mcp-forecast migrate`: the schema of this home, brought to a revision by an operator."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING

from mcp_forecast.commands.refused import refused

if TYPE_CHECKING:
    import argparse

    from mcp_forecast_engine.store.address import Address


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    made = commands.add_parser(
        "migrate",
        help="bring the database's schema to this version, or back to an older one",
        description="Bring the schema of this home's database to a revision, in one transaction. A server that starts "
        "does this by itself; use it to prepare an upgrade, with MCP_FORECAST_DATABASE_OWNER for a role that serving "
        "processes need not know, or to go back before an older version is installed. Back up first.",
    )
    made.add_argument("--to", metavar="REVISION", default="", help="revision, e.g. 0001; default: this version's")
    made.add_argument(
        "--lose-proofs",
        action="store_true",
        help="go back even where that destroys the proofs of the log, or the registry; see --to",
    )
    made.set_defaults(command=migrate_command)


def migrate_command(asked: argparse.Namespace) -> int:
    """Migrate and print from where to where; returns 0, or 2 when it was refused."""
    from mcp_forecast.home.schema import REVISION, REVISIONS, migrate
    from mcp_forecast.settings import process_settings
    from mcp_forecast_engine.errors import StoreUnavailable

    settings, to = process_settings(), asked.to or REVISION
    if to not in REVISIONS:
        return refused(f"there is no revision {to}; allowed: {', '.join(REVISIONS)}")
    try:
        if not _may_lose(settings.address, to, allowed=asked.lose_proofs):
            return 2
        found = migrate(settings.home, settings.address, owner=settings.database_owner, to=to)
    except StoreUnavailable as error:
        return refused(error)
    print(f"schema: {found or 'nothing'} → {to}" if found != to else f"schema: {to}, nothing to do")
    if found != to:
        _record(settings.address, found, to)
    return 0


def _may_lose(address: Address, to: str, *, allowed: bool) -> bool:
    """Say what going back to a revision destroys, and whether that was asked for. Raises StoreUnavailable."""
    from mcp_forecast.upkeep.proofs import proofs_of

    lost = proofs_of(address)
    told = "" if lost is None else lost.told(to)
    if not told:
        return True
    print(f"{'this destroys' if allowed else 'error: this would destroy'} for good: {told}", file=sys.stderr)
    if not allowed:
        print("next: back up (mcp-forecast backup TARGET), then repeat it with --lose-proofs", file=sys.stderr)
    return allowed


def _record(address: Address, found: str | None, to: str) -> None:
    """Enter the migration in the log as the new schema has it; it stands, whether this can be done or not."""
    from mcp_forecast.home.schema import NAMED_SINCE
    from mcp_forecast.upkeep.entry import enter, enter_in_first_schema
    from mcp_forecast_engine.errors import StoreUnavailable
    from mcp_forecast_engine.store.database import open_database

    entered = enter if to >= NAMED_SINCE else enter_in_first_schema
    try:
        with closing(open_database(address, schema=to)) as database, database.command() as connection:
            entered(connection, "MIGRATED", {"from": found or "nothing", "to": to}, now=database.clock())
    except StoreUnavailable as error:
        print(f"warning: the migration is done, but not on record in the log: {error}", file=sys.stderr)

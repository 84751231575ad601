"""`mcp-forecast migrate`: the schema of this home, brought to a revision by an operator."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


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
    made.set_defaults(command=migrate_command)


def migrate_command(asked: argparse.Namespace) -> int:
    """Migrate and print from where to where; returns 0, or 2 when it was refused."""
    from mcp_forecast.home import REVISION, REVISIONS, migrate
    from mcp_forecast.settings import process_settings
    from mcp_forecast_engine.errors import StoreUnavailable

    settings, to = process_settings(), asked.to or REVISION
    if to not in REVISIONS:
        print(f"error: there is no revision {to}; allowed: {', '.join(REVISIONS)}", file=sys.stderr)
        return 2
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = migrate(settings.home, settings.address, owner=settings.database_owner, to=to)
    except (StoreUnavailable, OSError) as error:
        advice = f"\nnext: {error.next_step}" if isinstance(error, StoreUnavailable) and error.next_step else ""
        print(f"error: {error}{advice}", file=sys.stderr)
        return 2
    print(f"schema: {found or 'nothing'} → {to}" if found != to else f"schema: {to}, nothing to do")
    return 0

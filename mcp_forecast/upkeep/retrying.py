"""A publication that failed as often as it may is tried again: an operator grants it, by name and on record."""

from __future__ import annotations

from mcp_forecast.settings import Settings
from mcp_forecast.upkeep.collecting import open_existing
from mcp_forecast.upkeep.entry import enter
from mcp_forecast_engine.runtime import publishing
from mcp_forecast_engine.runtime.run import Run


def grant_retry(settings: Settings, run_id: str) -> Run:
    """Let a run that waits in PUBLISH_PENDING be published in as many attempts as at first; servers may be at work.

    Raises StoreUnavailable, HomeNewer, NotFound, CorridorRefused.
    """
    database = open_existing(settings)
    try:
        with database.command() as connection:
            run = publishing.grant_attempts(connection, run_id)
            told = {"run_id": run_id, "attempts_left": str(publishing.MOST_ATTEMPTS)}
            enter(connection, "PUBLISH_RETRY_GRANTED", told, now=database.clock(), caller=settings.caller)
    finally:
        database.close()
    return run

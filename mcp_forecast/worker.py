"""The entry of a worker process, which outlives the server that started it: `mcp_forecast.worker RUN EPOCH`."""

from __future__ import annotations

import logging
import sys

from mcp_forecast.app import build_engine, milestone_of
from mcp_forecast.home.opening import open_home
from mcp_forecast.home.run_ends import enter_end
from mcp_forecast.settings import process_settings
from mcp_forecast_engine.runtime import process
from mcp_forecast_engine.runtime.worker import work


def main() -> None:
    """Do one claimed run and leave with its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    run_id, epoch = sys.argv[1], int(sys.argv[2])
    settings = process_settings()
    database = open_home(settings.home, settings.address)
    engine = build_engine(settings, database)
    code = work(
        run_id,
        epoch,
        database=database,
        artifacts=engine.artifacts,
        perform=engine.perform,
        clock=database.clock,
        milestone=milestone_of(settings, first_epoch=epoch == 1),
        lease_s=settings.lease_s,
        ended=enter_end,
    )
    process.leave(code)


if __name__ == "__main__":
    main()

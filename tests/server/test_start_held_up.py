"""A server that starts while a worker, left by a server that is gone, was stopped with SQLite's write lock."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from conftest import Desk

from mcp_forecast.home.opening import open_home
from mcp_forecast.settings import Settings
from mcp_forecast_engine.runtime import lease, ledger, process
from mcp_forecast_engine.store.database import Database

HOLDS = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
input_of_nobody = sys.argv[2]
while not os.path.exists(input_of_nobody):
    pass
connection.execute("BEGIN IMMEDIATE")
os.kill(os.getpid(), signal.SIGSTOP)
"""


def _run_of(worker: int, database: Database) -> str:
    """A cancelled run whose lease is past, held by this worker."""
    with database.command() as connection:
        now = database.clock()
        ledger.submit(
            connection, run_id="run_0000000000000001", run_key="key", kind="training", plan={}, caller="test",
            wall_limit_s=60.0, now=now,
        )  # fmt: skip
        run = lease.claim(
            connection, owner=f"{process.host_name()}/gone", lease_s=-1.0, max_running=1, now=now
        )  # fmt: skip
        assert run is not None
        lease.attach(connection, run.run_id, run.epoch, pid=worker, started=process.started_at(worker) or 0.0)
        return ledger.request_cancel(connection, run.run_id, now).run_id


def test_it_ends_that_worker_and_opens(settings: Settings, open_desk: Callable[[Settings], Desk]) -> None:
    database, go = open_home(settings.home), settings.home / "go"
    file = str(settings.home / "forecast.db")
    worker = process.spawn((sys.executable, "-c", HOLDS, file, str(go)), os.environ, settings.home / "log")
    started = process.started_at(worker) or 0.0
    run_id = _run_of(worker, database)
    go.touch()
    while database.writing_process() != worker:
        pass
    open_desk(replace(settings, lease_s=2.0))
    assert not process.alive(worker, started)
    for _ in range(100):  # the patience of a new server, then its next look
        with database.read() as connection:
            state = ledger.get(connection, run_id).state
        if state == "CANCELLED":
            break
        time.sleep(0.1)
    assert state == "CANCELLED"
    database.close()

"""The second thread of a worker: keeps the lease, shows progress, and ends the process when the work does not."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

from mcp_forecast_engine.errors import StaleEpoch, StoreUnavailable
from mcp_forecast_engine.ports import Clock
from mcp_forecast_engine.runtime import lease
from mcp_forecast_engine.runtime.job import Job
from mcp_forecast_engine.runtime.process import Exit, leave
from mcp_forecast_engine.runtime.run import time_limit_error
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.database import Database

MOST_PERIOD_S: Final = 0.5
COOPERATION_S: Final = 2.0  # a cancelled work may take this long to reach a check
log = logging.getLogger(__name__)


class Heartbeat:
    """Renews a job's lease every quarter of it (at most every 0.5 s) until stopped.

    It ends the whole process when the run was taken over, when a cancelled work does not stop within COOPERATION_S,
    and when the time is up. Work that never releases the interpreter stops it too; then the supervisor, who sees
    the lease run out, and the alarm of worker.py have the last word.
    """

    def __init__(self, job: Job, *, database: Database, artifacts: ArtifactStore, clock: Clock, lease_s: float) -> None:
        self._job, self._database, self._artifacts, self._clock = job, database, artifacts, clock
        self._lease_s = lease_s
        self._over = threading.Event()
        self._cancel_until: float | None = None
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """No more beats; called before the end is recorded, and does not wait for a beat under way."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(min(self._lease_s / 4, MOST_PERIOD_S)):
            try:
                self._beat()
            except StaleEpoch as error:
                if not self._over.is_set():  # else the main thread has just ended the run itself
                    log.warning("leaving: %s", error.message)
                    leave(Exit.STALE)
            except StoreUnavailable as error:
                log.warning("no heartbeat: %s", error.message)

    def _beat(self) -> None:
        run, now = self._job.run, self._clock()
        with self._database.command() as connection:
            cancelled = lease.renew(
                connection, run.run_id, run.epoch, lease_s=self._lease_s, progress=self._job.shown, now=now
            )
        if cancelled and self._cancel_until is None:
            self._job.stop("cancelled")
            self._cancel_until = time.monotonic() + COOPERATION_S
        if self._cancel_until is not None:
            if time.monotonic() > self._cancel_until:
                self._end(Exit.CANCELLED, lambda c: lease.cancelled(c, run.run_id, run.epoch, now=now))
        elif time.monotonic() > self._job.deadline:
            error = time_limit_error(run.wall_limit_s)
            self._end(Exit.FAILED, lambda c: lease.fail(c, run.run_id, run.epoch, error=error, now=now))

    def _end(self, code: Exit, record: Callable[[Connection], object]) -> None:
        with self._database.command() as connection:
            record(connection)
        self._artifacts.sweep(os.getpid())
        log.warning("leaving: the work did not stop by itself (%s)", code.name)
        leave(code)

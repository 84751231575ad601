"""A worker that was stopped, or hangs, while it holds the database's write lock: found and ended without a write."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from mcp_forecast_engine.runtime import lease, process
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.store.database import Database

LOOKS: Final = 10  # so many in a row are no chance
_NOT_LOOKED: Final = -1
log = logging.getLogger(__name__)


class Holdup:
    """Tells whether one process keeps everyone from writing, and ends it once it is a worker past its lease.

    Who it is says the kernel, whose worker it is the ledger (which can still be read) or the server that launched it.
    Any other process is named in the log and left alone. `end` is told pid and start of the worker to end.
    """

    def __init__(self, database: Database, *, lease_s: float, end: Callable[[int, float], None]) -> None:
        self._database, self._lease_s, self._end = database, lease_s, end
        self._writing: int | None = _NOT_LOOKED  # who wrote at the last look
        self._looks = 0  # in a row that found it
        self._launched: dict[int, tuple[float, float]] = {}  # pid → its start, and when its first lease ends

    def launched(self, pid: int, started: float, *, until: float) -> None:
        """Remember a worker that may be stopped before the ledger knows its pid; `until` is its lease."""
        living = {pid: worker for pid, worker in self._launched.items() if process.alive(pid, worker[0])}
        self._launched = {**living, pid: (started, until)}

    def lasts(self, now: float) -> bool:
        """Whether the process that wrote at the last look writes still; call it at every look. Raises StoreUnavailable.

        At the first look it is enough that a process writes.

        Then nobody can renew a lease, so nobody may lose one. Once the process was ended here, the answer is no.
        """
        before, self._writing = self._writing, self._database.writing_process()
        self._looks = self._looks + 1 if self._writing == before else 0
        if self._writing is None or self._looks == 0:
            return self._writing is not None and before == _NOT_LOOKED  # who knows for how long already
        started = process.started_at(self._writing)
        if started is None:
            return False
        held_until = self._held_until(self._writing, started)
        if held_until is None or now <= held_until:
            if self._looks == LOOKS:
                who = "no worker: let it go on or end it" if held_until is None else "a worker within its lease"
                log.warning("process %d keeps everyone from writing; it is %s", self._writing, who)
            return True
        log.warning("worker %d lost its lease while it kept everyone from writing, and is ended", self._writing)
        self._end(self._writing, started)
        return False

    def _held_until(self, pid: int, started: float) -> float | None:
        """When the last lease of this process ends or ended, None if it is no worker."""
        with self._database.read() as connection:
            runs = [run for run in lease.of_worker(connection, pid) if process.same(started, run.worker_started)]
        if runs:
            return max(self._gone_by(run) for run in runs)
        born, until = self._launched.get(pid, (None, None))
        return until if process.same(started, born) else None

    def _gone_by(self, run: Run) -> float:
        # A worker that has ended its run leaves at once; it may be stopped between its last commit and that.
        return run.lease_until if run.lease_until is not None else (run.ended_at or 0.0) + self._lease_s

"""The supervisor: one thread of each server that gives runs to workers and ends workers that must not go on.

Several servers share a home; they compete by lease only, none is elected. What one server leaves undone, any other
that looks at the home takes up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from sqlalchemy import Connection

from mcp_forecast_engine.errors import StaleEpoch, StoreUnavailable
from mcp_forecast_engine.ports import Clock, Milestone
from mcp_forecast_engine.runtime import lease, process
from mcp_forecast_engine.runtime.holdup import Holdup
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.store.database import Database

POLL_S: Final = 0.5
MOST_POLL_S: Final = 10.0  # while the store does not answer
START_S: Final = 5.0  # a claimed run's worker may take this long to come up, beyond the lease
WRITE_S: Final = 2.0  # no longer for a turn to write: what was not written now is found again at the next look
CANCEL_S: Final = 3.0  # a cancelled worker may take this long to go by itself
log = logging.getLogger(__name__)


class Patience:
    """Tells whether leases may have run out only because the machine slept, or the store was away.

    Then the workers could not renew either, and get the time of a lease to do so before anyone takes their runs.
    """

    def __init__(self, *, lease_s: float, usual_s: float) -> None:
        self._lease_s, self._usual_s = lease_s, usual_s
        self._looked_at: float | None = None
        self._until = float("-inf")

    def skip(self, now: float) -> None:
        """Nobody could write at this look; such looks are a gap between two that count."""
        self._looked_at = now if self._looked_at is None else self._looked_at

    def grant(self, now: float) -> None:
        """Workers can write again that could not for about a lease."""
        self._until = now + self._lease_s

    def lets_renew(self, now: float) -> bool:
        """Whether to wait; call it at every look."""
        if self._looked_at is not None and now - self._looked_at > max(self._lease_s / 2, self._usual_s):
            self._until = now + self._lease_s
        self._looked_at = now
        return now < self._until <= now + self._lease_s  # a clock set back ends it


class Supervisor:
    """Claims runs for `launch` (returns the worker's pid) and watches the workers of this host.

    `owner` names this server. At most `max_running` leases live in the home, whoever holds them. `sweep` is told the
    pid of a worker that has gone without clearing up. It begins with construction.
    """

    def __init__(
        self,
        *,
        database: Database,
        launch: Callable[[Run], int],
        owner: str,
        clock: Clock,
        milestone: Milestone,
        lease_s: float,
        max_running: int,
        start_s: float = START_S,
        poll_s: float = POLL_S,
        sweep: Callable[[int], None] = lambda pid: None,
    ) -> None:
        self._database, self._launch, self._sweep = database, launch, sweep
        self._host = process.host_name()
        self._owner = f"{self._host}/{owner}"
        self._clock, self._milestone = clock, milestone
        self._lease_s, self._max_running, self._start_s, self._poll_s = lease_s, max_running, start_s, poll_s
        self._cancels: dict[tuple[str, int], float] = {}  # (run, epoch) → monotonic time when first seen cancelled
        self._patience = Patience(lease_s=lease_s, usual_s=10 * poll_s)
        self._holdup = Holdup(database, lease_s=lease_s, end=self._end_writer)
        self._closing, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def notify(self) -> None:
        """A run was submitted or cancelled: look at once."""
        self._wake.set()

    def close(self) -> None:
        """Stop looking; workers go on and the next server takes over. Returns within 0.1 s."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout=0.1)

    def _run(self) -> None:
        pause = self._poll_s
        while not self._closing.is_set():
            try:
                self._look()
                pause = self._poll_s
            except StoreUnavailable as error:
                pause = min(pause * 2, MOST_POLL_S)
                if not self._closing.is_set():
                    log.warning("the supervisor looks again in %.1f s: %s", pause, error.message)
            except Exception:
                # Whatever it was, the next look may do better; the runs are safe in the ledger.
                if not self._closing.is_set():
                    log.exception("the supervisor looks again in %.1f s", pause := min(pause * 2, MOST_POLL_S))
            self._wake.wait(min(pause, 0.1) if self._cancels else pause)
            self._wake.clear()

    def _look(self) -> None:
        process.reap()
        if self._holdup.lasts(self._clock()):
            self._patience.skip(self._clock())
            return
        now = self._clock()
        with self._database.read() as connection:
            running, waiting = lease.running(connection), lease.waiting(connection)
        if self._patience.lets_renew(now):
            return
        held = {(run.run_id, run.epoch) for run in running if run.cancel_requested}
        self._cancels = {key: self._cancels.get(key, time.monotonic()) for key in held}
        for run in running:
            self._end_if_expired(run, now)  # first: while such a worker has a lock, no write of the next lines succeeds
        freed = sum(self._frees(run, now) for run in running)
        if freed or (waiting and len(running) < self._max_running):
            while not self._closing.is_set() and self._start_one():
                pass

    def _end_if_expired(self, run: Run, now: float) -> None:
        if run.worker_pid is None or run.worker_started is None or not self._is_of_this_host(run):
            return
        if _expired(run, now) and process.alive(run.worker_pid, run.worker_started):
            log.warning("worker %d of %s lost its lease and is ended", run.worker_pid, run.run_id)
            self._end(run.worker_pid, run.worker_started)

    def _frees(self, run: Run, now: float) -> bool:
        """End a worker that must not go on; tells whether the next claim may take the run over (or end it)."""
        if run.worker_pid is None or run.worker_started is None or not self._is_of_this_host(run):
            return _expired(run, now)
        if not process.alive(run.worker_pid, run.worker_started):
            self._sweep(run.worker_pid)
            self._under_epoch(lambda c: lease.expire(c, run.run_id, run.epoch, now=now))
        elif run.cancel_requested and time.monotonic() - self._cancels[run.run_id, run.epoch] >= CANCEL_S:
            log.warning("worker %d of %s did not heed its cancellation and is ended", run.worker_pid, run.run_id)
            self._end(run.worker_pid, run.worker_started)
            self._under_epoch(lambda c: lease.cancelled(c, run.run_id, run.epoch, now=now))
        else:
            return False
        return True

    def _end(self, pid: int, started: float) -> None:
        process.kill(pid, started)
        self._sweep(pid)

    def _end_writer(self, pid: int, started: float) -> None:
        self._end(pid, started)
        self._patience.grant(self._clock())

    def _start_one(self) -> bool:
        with self._database.command(wait_s=WRITE_S) as connection:
            run = lease.claim(
                connection, owner=self._owner, lease_s=self._lease_s + self._start_s,
                max_running=self._max_running, now=self._clock(),
            )  # fmt: skip
        if run is None:
            return False
        self._milestone("claimed")
        try:
            pid = self._launch(run)
        except OSError as error:
            log.error("no worker could be started for %s: %s", run.run_id, error)
            self._under_epoch(lambda c: lease.expire(c, run.run_id, run.epoch, now=self._clock()))
            return False
        self._milestone("spawned")
        started = process.started_at(pid) or 0.0  # 0: it is gone already, which the next look finds
        self._holdup.launched(pid, started, until=run.lease_until or 0.0)
        self._under_epoch(lambda c: lease.attach(c, run.run_id, run.epoch, pid=pid, started=started))
        return True

    def _under_epoch(self, write: Callable[[Connection], object]) -> None:
        with suppress(StaleEpoch), self._database.command(wait_s=WRITE_S) as connection:
            write(connection)

    def _is_of_this_host(self, run: Run) -> bool:
        return (run.lease_owner or "").partition("/")[0] == self._host


def _expired(run: Run, now: float) -> bool:
    return run.lease_until is None or run.lease_until < now

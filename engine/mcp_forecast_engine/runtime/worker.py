"""A worker: one process that does the work of one run under one epoch, and records how it ended."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from mcp_forecast_engine.errors import RETRYABLE_REASONS, ArtifactCorrupt, EngineError, StaleEpoch, StoreUnavailable
from mcp_forecast_engine.ports import Clock, Milestone
from mcp_forecast_engine.runtime import lease
from mcp_forecast_engine.runtime.heartbeat import Heartbeat
from mcp_forecast_engine.runtime.job import Job, Stopped
from mcp_forecast_engine.runtime.process import Exit, started_at
from mcp_forecast_engine.runtime.run import FINISHED, Run, State, time_limit_error
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.database import Database

STORAGE: Final = (StoreUnavailable, ArtifactCorrupt)  # mended from outside, so the same call may succeed later
LAST_RESORT_S: Final = 2.0  # after the time limit, for the heartbeat to record it first
RunEnded = Callable[[Connection, Run], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class End:
    """How the work of a run ended: `result` is an artifact digest, `error` as in Run."""

    state: State
    result: str = ""
    error: dict[str, Any] | None = None


def work(
    run_id: str,
    epoch: int,
    *,
    database: Database,
    artifacts: ArtifactStore,
    perform: Callable[[Job], bytes],
    clock: Clock,
    milestone: Milestone,
    lease_s: float,
    ended: RunEnded,
) -> int:
    """Do a claimed run in this process and return its exit code (`process.Exit`); call it in the main thread.

    ended: told the run inside the transaction that ends it.
    The process may end inside (cancelled, out of time, taken over). Ending it afterwards with `process.leave`
    keeps a forgotten thread from holding it.
    """
    try:
        run = _attach(database, run_id, epoch)
        milestone("started")
        left_s = 0.0 if run.started_at is None else run.started_at + run.wall_limit_s - clock()
        job = Job(
            run, database=database, artifacts=artifacts, clock=clock, milestone=milestone,
            deadline=time.monotonic() + left_s,
        )  # fmt: skip
        if run.cancel_requested:
            job.stop("cancelled")
        heartbeat = Heartbeat(job, database=database, artifacts=artifacts, clock=clock, lease_s=lease_s)
        with _alarm(left_s + LAST_RESORT_S):
            heartbeat.start()
            try:
                end = _perform(job, perform, artifacts, milestone)
            finally:
                heartbeat.stop()
            state = _record(job, end, database, clock(), lease_s, ended)
    except StaleEpoch as error:
        log.warning("leaving: %s", error.message)
        return Exit.STALE
    except StoreUnavailable as error:
        log.error("the end of %s could not be recorded: %s", run_id, error.message)
        return Exit.UNRECORDED
    milestone("finished")
    return Exit.FINISHED if state in FINISHED else Exit[state]


def _attach(database: Database, run_id: str, epoch: int) -> Run:
    pid = os.getpid()
    with database.command() as connection:
        return lease.attach(connection, run_id, epoch, pid=pid, started=started_at(pid) or 0.0)


@contextmanager
def _alarm(after_s: float) -> Iterator[None]:
    """The kernel ends this process then, even where native code holds the interpreter and no thread can run."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, max(after_s, 0.1))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _perform(job: Job, perform: Callable[[Job], bytes], artifacts: ArtifactStore, milestone: Milestone) -> End:
    run = job.run
    try:
        job.check()  # it may have been cancelled before this worker came up
        digest = artifacts.put(perform(job))
        milestone("result:stored")
        return End(job.ends_as, result=digest)
    except Stopped as stop:
        if stop.reason == "cancelled":
            return End("CANCELLED")
        return End("FAILED", error=time_limit_error(run.wall_limit_s))
    except StaleEpoch:
        raise
    except EngineError as error:
        curable = isinstance(error, STORAGE) or error.reason in RETRYABLE_REASONS
        disposition = "retryable" if curable else "terminal"
        return End("FAILED", error=_refusal(error, disposition))
    except Exception:
        # The text of an unforeseen exception may carry data or paths: it stays in this worker's log.
        correlation_id = f"{run.run_id}.{run.epoch}"
        log.exception("unforeseen fault, correlation_id %s", correlation_id)
        return End("FAILED", error=_fault(correlation_id))


def _record(job: Job, end: End, database: Database, now: float, lease_s: float, ended: RunEnded) -> State:
    """Enter how the run ended; a cancellation that was asked for before that wins over what the work says."""
    held = (job.run.run_id, job.run.epoch)
    with database.command() as connection:
        cancelled = lease.renew(connection, *held, lease_s=lease_s, progress=job.shown, now=now)
        if cancelled or end.state == "CANCELLED":
            run = lease.cancelled(connection, *held, now=now)
        elif end.state == "FAILED":
            run = lease.fail(connection, *held, error=end.error or {}, now=now)
        else:
            run = lease.finish(connection, *held, state=end.state, result=end.result, now=now)
        ended(connection, run)
    return run.state


def _refusal(error: EngineError, disposition: str) -> dict[str, Any]:
    found = {
        "reason": error.reason or type(error).__name__, "disposition": disposition, "message": error.message,
        "field": error.field, "allowed": error.allowed, "next_step": error.next_step,
    }  # fmt: skip
    plain: dict[str, Any] = json.loads(json.dumps(found, default=str))  # `allowed` may hold sets or paths
    return {name: value for name, value in plain.items() if value is not None}


def _fault(correlation_id: str) -> dict[str, Any]:
    return {
        "reason": "INTERNAL",
        "disposition": "retryable",
        "message": f"an unforeseen fault; the worker's log has it under {correlation_id}",
        "correlation_id": correlation_id,
        "next_step": "make the same call again; if it fails again, report the correlation_id",
    }

"""The composition root: the only place that builds things, and what a call finds built."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import psutil
from sqlalchemy import Connection

from mcp_forecast.calls.limits import Limits
from mcp_forecast.calls.pipeline import Trail
from mcp_forecast.calls.quotas import Quotas
from mcp_forecast.calls.tool import Tool
from mcp_forecast.governance import profiles_of
from mcp_forecast.home import processes
from mcp_forecast.home.opening import open_home
from mcp_forecast.home.sealing import Sealer
from mcp_forecast.settings import Settings, child_environment
from mcp_forecast.tools import TOOLS
from mcp_forecast_audit import log as audit_log
from mcp_forecast_engine.engine import Engine
from mcp_forecast_engine.models.pretrained_folder import PretrainedFolder
from mcp_forecast_engine.ports import Milestone
from mcp_forecast_engine.runtime.process import host_name, spawn
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.runtime.supervisor import Supervisor
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.database import Database
from mcp_forecast_engine.store.writer import Writer
from mcp_forecast_policy.rules import DEFAULT_POLICY, ScopeTable, load_policy

if TYPE_CHECKING:
    from mcp_forecast_engine.factory.governance import GovernanceProfile

R = TypeVar("R")
COMMAND_THREADS, READ_THREADS = 8, 2  # long parts of calls at the same time; the rest wait for a thread
log = logging.getLogger(__name__)


class App:
    """Everything a call needs, built once per process. Build it with `open_app`, end it with `close`."""

    def __init__(
        self, settings: Settings, database: Database, engine: Engine, policy: ScopeTable, clock: Callable[[], float]
    ) -> None:
        self.settings, self.database, self.engine, self.policy, self.clock = settings, database, engine, policy, clock
        self.tools: Mapping[str, Tool] = TOOLS
        self.limits = Limits(rate_per_s=settings.rate_per_s, burst=settings.rate_burst, monotonic=time.monotonic)
        self.quotas = Quotas(
            runs_per_day=settings.runs_per_day,
            training_minutes_per_day=settings.training_minutes_per_day,
            runs_at_once=settings.runs_at_once,
            queue_limit=settings.queue_limit,
            workers=settings.workers,
        )
        self.milestone: Milestone = _milestone(settings)
        self.process_id = f"srv_{secrets.token_hex(8)}"
        self._threads = {
            "read": ThreadPoolExecutor(READ_THREADS, thread_name_prefix="read"),
            "command": ThreadPoolExecutor(COMMAND_THREADS, thread_name_prefix="command"),
        }
        self.sealer = Sealer(database, home=settings.home, folder=settings.checkpoint_folder, clock=clock)
        self.writer: Writer[tuple[Trail, str]] = Writer(database, _enter_group, chore=self.sealer)
        # Before the first command, which waits while a worker that was stopped keeps the lock: the supervisor ends it.
        self.supervisor = Supervisor(
            database=database,
            launch=self._launch,
            owner=self.process_id,
            clock=clock,
            milestone=self.milestone,
            lease_s=settings.lease_s,
            max_running=settings.workers,
            sweep=engine.artifacts.sweep,
        )
        try:
            self._begin()
        except BaseException:
            self.supervisor.close()
            self.writer.close()
            raise

    async def off_loop(self, effect: str, work: Callable[[], R]) -> R:
        """Run something long in a thread; reads and commands have threads of their own, so neither waits for the other.

        A caller that goes away leaves the thread to finish, and it counts until it has.
        """
        return await asyncio.wrap_future(self._threads[effect].submit(work))

    async def read(self, work: Callable[[], R], *, short: bool = True) -> R:
        """Run a read: here on the loop if it is short and no server can keep its answer back, else in a thread."""
        if short and self.database.at_hand:
            return work()
        return await self.off_loop("read", work)

    async def commit(self, work: Callable[[Connection], R], *, abandoned: Callable[[], object]) -> R:
        """Run `work` in one transaction on the writer thread; a caller that goes away does not undo it.

        abandoned: called on that thread when the commit fails after its caller went away, and nobody else is told.
        """
        commit = self.writer.submit(work)
        told = asyncio.wrap_future(commit)
        try:
            value = await asyncio.shield(told)
        except asyncio.CancelledError:
            told.add_done_callback(lambda done: done.cancelled() or done.exception())  # else asyncio prints it
            commit.add_done_callback(lambda done: done.exception() is not None and abandoned())
            raise
        self.milestone("committed")
        return value

    def enter(self, trail: Trail, code: str) -> None:
        """Enter a call that committed nothing into the log, off its path."""
        self.writer.enter((trail, code))

    def close(self) -> None:
        """Flush the log and leave; runs that work go on without us."""
        self.supervisor.close()
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)
        self.writer.close(lambda connection: processes.end(connection, self.process_id, now=self.clock()))
        self.database.close()

    def _begin(self) -> None:
        me, host = psutil.Process(), "" if self.database.kind == "sqlite" else host_name()
        self.writer.submit(
            lambda connection: processes.begin(
                connection, self.process_id, pid=me.pid, pid_started=me.create_time(), host=host, now=self.clock()
            )
        ).result()

    def _launch(self, run: Run) -> int:
        # -P: a stray calendar.py in the folder the server was started in must not be imported.
        command = (sys.executable, "-P", "-m", "mcp_forecast.worker", run.run_id, str(run.epoch))
        return spawn(command, child_environment(self.settings), self.settings.home / "logs" / f"{run.run_id}.log")


def open_app(settings: Settings, clock: Callable[[], float] | None = None) -> App:
    """Open the home and build the app; the time is the database's, unless a test has another.

    Raises HomeNewer, StoreUnavailable, PolicyInvalid, CorridorRefused (the governance file).
    """
    database = open_home(settings.home, settings.address, owner=settings.database_owner)
    clock = clock or database.clock
    try:
        log.info("home %s: %s %s", settings.home, database.kind, database.report())
        policy = load_policy(DEFAULT_POLICY.read_bytes())
        return App(settings, database, build_engine(settings, database, profiles_of(settings)), policy, clock)
    except BaseException:
        database.close()
        raise


def build_engine(
    settings: Settings, database: Database, profiles: Mapping[str, GovernanceProfile] | None = None
) -> Engine:
    """The engine on this home; also what a worker process builds, whose runs have pinned their profiles."""
    artifacts = ArtifactStore(settings.home / "artifacts")
    folder = PretrainedFolder(settings.pretrained_folder)
    return Engine(
        database, artifacts, wall_limit_s=settings.wall_limit_s, pretrained=folder, cores=_cores(),
        signing=settings.signing, governance=profiles,
    )  # fmt: skip


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def milestone_of(settings: Settings, *, first_epoch: bool = True) -> Milestone:
    """What a worker tells its points to; a process that took over is not ended again."""
    return _milestone(settings) if first_epoch else _pass


def _milestone(settings: Settings) -> Milestone:
    if not settings.crash_at:
        return _pass

    def end_here(name: str) -> None:
        if name == settings.crash_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return end_here


def _pass(name: str) -> None:
    """Nobody is asked to end here."""


def _enter_group(connection: Connection, group: Sequence[tuple[Trail, str]]) -> None:
    # A group comes again when nobody knows whether its commit stands, and so does a call whose own commit does.
    audit_log.append_missing(connection, [trail.entry(code) for trail, code in group])

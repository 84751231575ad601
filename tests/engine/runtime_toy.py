"""A small home with real workers and servers, for tests that kill them; what its runs do is in `runtime_works`.

python runtime_toy.py worker HOME RUN_ID EPOCH     what a supervisor spawns
python runtime_toy.py server HOME                  a process that runs a supervisor until it is ended
python runtime_toy.py submit HOME KEYS             asks for KEYS runs and prints their ids
python runtime_toy.py write HOME                   keeps a transaction open until its input ends

Its rows are in SQLite, or where TOY_DATABASE says; that PostgreSQL database has its tables already.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime_works import STEPS, perform
from sqlalchemy import select
from sqlmodel import SQLModel, create_engine

from mcp_forecast_engine.ports import Milestone
from mcp_forecast_engine.runtime import lease, ledger, process, worker
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.runtime.supervisor import Supervisor
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.database import Database, open_database
from mcp_forecast_engine.store.identity import digest, short_id

WORKER_POINTS: Final = (
    "started",
    *(f"{step}:{point}" for step in STEPS for point in ("made", "stored", "recorded")),
    "result:stored",
    "finished",
)
SERVER_POINTS: Final = ("claimed", "spawned")
CRASH_AT: Final = "TOY_CRASH_AT"
STOP_AT: Final = "TOY_STOP_AT"
LEASE: Final = "TOY_LEASE_S"
DATABASE: Final = "TOY_DATABASE"
LEASE_S: Final = 1.0
START_S: Final = 20.0  # nobody waits for it, and on a busy machine a process may take many seconds to come up
SHORT_START_S: Final = 4.0  # where a test waits for it to pass
POLL_S: Final = 0.1


@dataclass(frozen=True)
class Home:
    """One folder with a database and artifacts, opened by this process."""

    path: Path
    database: Database
    artifacts: ArtifactStore
    address: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What a process of this home has to be told."""
        return {**os.environ, DATABASE: self.address}

    def submit(self, work: str = "steps", *, seed: int = 0, wall_limit_s: float = 60.0) -> Run:
        """Ask for a run that does `work`."""
        plan = {"work": work, "seed": seed}
        key = digest("toy/1", plan)
        with self.database.command() as connection:
            run, _ = ledger.submit(
                connection, run_id=short_id("run", key), run_key=key, kind="training", plan=plan, caller="test",
                wall_limit_s=wall_limit_s, now=self.database.clock(),
            )  # fmt: skip
        return run

    def claim(self, lease_s: float = LEASE_S, owner: str = "elsewhere/1") -> Run | None:
        """Take the next run, as a server would."""
        with self.database.command() as connection:
            return lease.claim(connection, owner=owner, lease_s=lease_s, max_running=8, now=self.database.clock())

    def run(self, run_id: str) -> Run:
        """The run as it is now."""
        with self.database.read() as connection:
            return ledger.get(connection, run_id)

    def cancel(self, run_id: str) -> Run:
        """Ask for its cancellation."""
        with self.database.command() as connection:
            return ledger.request_cancel(connection, run_id, self.database.clock())

    def steps(self, run_id: str) -> dict[str, str]:
        """The finished steps of a run and the digests they left."""
        with self.database.read() as connection:
            query = select(lease.STEP.c.step, lease.STEP.c.artifact).where(lease.STEP.c.run_id == run_id)
            return {row.step: row.artifact for row in connection.execute(query)}

    def made(self) -> list[str]:
        """The steps that were made in this home, in order, as the work itself noted them."""
        log = self.path / "made.log"
        return log.read_text().split() if log.exists() else []

    def unfinished_files(self) -> list[Path]:
        """What writers left behind half written."""
        return [*(self.path / "artifacts").glob("*/.new-*")]

    def spawn_worker(self, run: Run, environment: Mapping[str, str] | None = None) -> int:
        """Start a worker process for a claimed run."""
        command = (sys.executable, __file__, "worker", str(self.path), run.run_id, str(run.epoch))
        return process.spawn(
            command, {**self.environment, **(environment or {})}, self.path / "logs" / f"{run.run_id}.log"
        )

    @contextmanager
    def supervised(
        self, *, crash_at: str = "", stop_at: str = "", milestone: Milestone = lambda name: None,
        lease_s: float = LEASE_S, start_s: float = START_S,
    ) -> Iterator[Supervisor]:  # fmt: skip
        """A server in this process, whose workers once end themselves at `crash_at`, or stop writing at `stop_at`."""
        environment = {CRASH_AT: crash_at, STOP_AT: stop_at, LEASE: str(lease_s)}
        supervisor = Supervisor(
            database=self.database, launch=lambda run: self.spawn_worker(run, environment),
            sweep=self.artifacts.sweep, owner=f"server-{os.getpid()}", clock=self.database.clock, milestone=milestone,
            lease_s=lease_s, max_running=2, start_s=start_s, poll_s=POLL_S,
        )  # fmt: skip
        try:
            yield supervisor
        finally:
            supervisor.close()

    def wait_for_end(self, run_id: str, within_s: float = 15.0) -> Run:
        """The run once it has ended."""
        until(lambda: self.run(run_id).ended, within_s)
        return self.run(run_id)


def open_home(path: Path, address: str = "") -> Home:
    """Open a home, making its tables if they are not there."""
    path.mkdir(parents=True, exist_ok=True)
    if not address and not (path / "forecast.db").exists():
        engine = create_engine(f"sqlite:///{path / 'forecast.db'}")
        SQLModel.metadata.create_all(engine)
        engine.dispose()
    return Home(path, open_database(address or path / "forecast.db"), ArtifactStore(path / "artifacts"), address)


def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Return as soon as the condition holds; fail if it does not within the time."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {within_s} s")
        time.sleep(0.01)


def crash_once(home: Path, point: str) -> Milestone:
    """A milestone at which one process of this home, the first to get there, is killed."""

    def milestone(name: str) -> None:
        if name == point and _is_first(home / "crashed"):
            os.kill(os.getpid(), signal.SIGKILL)

    return milestone


def stop_once(home: Home, point: str, run_id: str) -> Milestone:
    """A milestone at which one process of this home is stopped in the midst of a transaction.

    It has renewed its lease by then, if it works at all, so that the lease is short.
    """

    def beaten() -> bool:
        return (home.run(run_id).lease_until or 0.0) <= home.database.clock() + LEASE_S

    def milestone(name: str) -> None:
        if name == point and _is_first(home.path / "stopping"):
            until(lambda: name == "opening" or beaten())
            with home.database.command():
                (home.path / "stopped").touch()
                os.kill(os.getpid(), signal.SIGSTOP)

    return milestone


def _is_first(mark: Path) -> bool:
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def start_server(home: Path, crash_at: str = "", *, address: str = "") -> subprocess.Popen[bytes]:
    """A server in a process of its own."""
    log = (home / "server.log").open("ab")
    environment = {**os.environ, CRASH_AT: crash_at, DATABASE: address}
    with log:
        return subprocess.Popen([sys.executable, __file__, "server", str(home)], env=environment, stderr=log)


def _worker(home: Home, run_id: str, epoch: str) -> None:
    points = (crash_once(home.path, os.environ.get(CRASH_AT, "")), stop_once(home, os.environ.get(STOP_AT, ""), run_id))

    def milestone(name: str) -> None:
        for point in points:
            point(name)

    milestone("opening")
    code = worker.work(
        run_id, int(epoch), database=home.database, artifacts=home.artifacts,
        perform=lambda job: perform(job, home.path), clock=home.database.clock,
        milestone=milestone,
        lease_s=float(os.environ.get(LEASE, LEASE_S)),
        ended=lambda connection, run: None,
    )  # fmt: skip
    process.leave(code)


def _server(home: Home) -> None:
    point = os.environ[CRASH_AT]
    with home.supervised(milestone=crash_once(home.path, point), start_s=SHORT_START_S if point else START_S):
        signal.pause()


def _submit(home: Home, keys: str) -> None:
    for seed in range(int(keys)):
        print(home.submit(seed=seed).run_id)


def _write(home: Home) -> None:
    with home.database.command():
        sys.stdin.read()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    mode, folder, *rest = sys.argv[1:]
    modes: dict[str, Callable[..., None]] = {"worker": _worker, "server": _server, "submit": _submit, "write": _write}
    modes[mode](open_home(Path(folder), os.environ.get(DATABASE, "")), *rest)

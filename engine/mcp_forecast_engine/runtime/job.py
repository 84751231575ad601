"""A job: what the work of a run is given, to leave steps that survive, show progress and notice that it must stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, Literal

from mcp_forecast_engine.errors import ArtifactCorrupt
from mcp_forecast_engine.ports import Clock, Milestone
from mcp_forecast_engine.runtime import lease
from mcp_forecast_engine.runtime.run import Progress, Run, State
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.database import Database

StopReason = Literal["cancelled", "time_limit"]
log = logging.getLogger(__name__)


class Stopped(BaseException):
    """The run must end here. No Exception, so that work which forgives errors does not swallow it."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason: Final = reason


class Job:
    """One worker's hold on one run. `deadline` is a time.monotonic, so that a sleeping laptop costs nothing."""

    def __init__(
        self,
        run: Run,
        *,
        database: Database,
        artifacts: ArtifactStore,
        clock: Clock,
        milestone: Milestone,
        deadline: float,
    ) -> None:
        self.run: Final = run
        self.deadline: Final = deadline
        self.shown = Progress()
        self.ends_as: State = "SUCCEEDED"  # the work of a training says what its gate says
        self._database, self._artifacts, self._clock, self._milestone = database, artifacts, clock, milestone
        self._must_stop: StopReason | None = None

    def step(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The bytes of a named step: those an earlier worker left, else made now and kept.

        The artifact is stored before the ledger names it, so a step that is entered is there. Raises Stopped,
        StaleEpoch, StoreUnavailable, and what `make` raises.
        """
        self.check()
        kept = self._kept(name)
        if kept is not None:
            return kept
        data = make()
        self._milestone(f"{name}:made")
        digest = self._artifacts.put(data)
        self._milestone(f"{name}:stored")
        with self._database.command() as connection:
            lease.finish_step(
                connection, self.run.run_id, self.run.epoch, step=name, artifact=digest, now=self._clock()
            )
        self._milestone(f"{name}:recorded")
        return data

    def evaluated(self) -> None:
        """Say that the evaluation is there: what follows judges it. Raises Stopped, StaleEpoch, StoreUnavailable."""
        self.check()
        with self._database.command() as connection:
            lease.evaluated(connection, self.run.run_id, self.run.epoch)
        self._milestone("evaluated")

    def progress(self, done: int, total: int, text: str) -> None:
        """Show how far the work is; written with the next heartbeat, so it may be called as often as one likes."""
        self.shown = Progress(done, total, text)

    def check(self) -> None:
        """Raise Stopped if the run was cancelled or its time is up; cheap, call it in every loop."""
        if self._must_stop is None and time.monotonic() > self.deadline:
            self._must_stop = "time_limit"
        if self._must_stop is not None:
            raise Stopped(self._must_stop)

    def stop(self, reason: StopReason) -> None:
        """Ask the work to end at its next check."""
        self._must_stop = reason

    def _kept(self, name: str) -> bytes | None:
        with self._database.read() as connection:
            digest = lease.step_artifact(connection, self.run.run_id, name)
        if digest is None:
            return None
        try:
            return self._artifacts.get(digest)
        except ArtifactCorrupt as error:
            log.warning("step %s of %s is made again: %s", name, self.run.run_id, error.message)
            return None

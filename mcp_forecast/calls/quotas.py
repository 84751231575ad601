"""How many runs a caller may ask for: quotas on the home's ledger, and a queue that pushes back when it is full."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import Connection

from mcp_forecast.errors import Refusal
from mcp_forecast_engine.runtime.run import Run
from mcp_forecast_engine.runtime.usage import Usage, runs_fall_to, seconds_fall_to, settle, usage, usual_seconds

Quota = Literal["RUNS_PER_DAY", "TRAINING_MINUTES", "RUNS_AT_ONCE"]
UNKNOWN_RUN_S: Final = 10.0  # what a run is taken to need in a home where none has ended
LONGEST_WAIT_S: Final = 300.0


@dataclass(frozen=True)
class Quotas:
    """How many runs one caller may ask for, and how many may wait in the home. Zero allows none.

    Counted on the ledger in the transaction that enters the run: what is refused was never entered, and calls that race
    cannot exceed a number of runs together. Minutes are those worked up to now: once they are used up no new run is
    let in, and the runs that are open then work on past them. A forecast that was answered inline is a run of the day,
    but never waits.
    """

    runs_per_day: int
    training_minutes_per_day: float
    runs_at_once: int
    queue_limit: int
    workers: int

    def admit(self, connection: Connection, run: Run, *, caller: str, now: float) -> None:
        """Let a run stand that was just entered for this caller.

        Raises Refusal RATE_LIMITED when the home's queue is full, QUOTA_EXCEEDED when the caller's share is used up.
        """
        settle(connection, caller, now=now)
        used = usage(connection, caller, now=now)
        if used.runs > self.runs_per_day:
            # One more: the run at hand is counted, and will not be when it is asked for again.
            wait = runs_fall_to(connection, caller, fewer_than=self.runs_per_day + 1, now=now)
            raise self._exceeded("RUNS_PER_DAY", used.runs - 1, self.runs_per_day, wait)
        if run.ended:
            return
        if used.queued > self.queue_limit:
            raise self._queue_full(connection, used)
        if used.seconds >= 60 * self.training_minutes_per_day:
            wait = seconds_fall_to(connection, caller, less_than=60 * self.training_minutes_per_day, now=now)
            raise self._exceeded("TRAINING_MINUTES", round(used.seconds / 60, 1), self.training_minutes_per_day, wait)
        if used.open > self.runs_at_once:
            raise self._exceeded("RUNS_AT_ONCE", used.open - 1, self.runs_at_once, self._next_slot(connection))

    def require_day(self, connection: Connection, *, caller: str, now: float) -> None:
        """Refuse before the work what `admit` would refuse after it. Raises Refusal QUOTA_EXCEEDED."""
        used = usage(connection, caller, now=now)
        if used.runs >= self.runs_per_day:
            wait = runs_fall_to(connection, caller, fewer_than=self.runs_per_day, now=now)
            raise self._exceeded("RUNS_PER_DAY", used.runs, self.runs_per_day, wait)

    def shown(self, used: Usage) -> dict[str, dict[str, float]]:
        """Each quota with what is used of it."""
        return {
            "runs_per_day": {"used": used.runs, "limit": self.runs_per_day},
            "training_minutes_per_day": {
                "used": round(used.seconds / 60, 1), "limit": self.training_minutes_per_day,
            },
            "runs_at_once": {"used": used.open, "limit": self.runs_at_once},
            "queue": {"used": used.queued, "limit": self.queue_limit},
        }  # fmt: skip

    def _next_slot(self, connection: Connection) -> float:
        """About how long until a worker is free: what runs usually take, shared by the workers."""
        seconds = usual_seconds(connection, otherwise=UNKNOWN_RUN_S) / max(self.workers, 1)
        return min(max(seconds, 1.0), LONGEST_WAIT_S)

    def _queue_full(self, connection: Connection, used: Usage) -> Refusal:
        return Refusal(
            "RATE_LIMITED",
            f"{used.queued - 1} runs wait in this home already, at most {self.queue_limit} may",
            retry_after_s=math.ceil(self._next_slot(connection)),
            next_step="wait retry_after_s, then make the same call; get_service_status shows the queue",
            details={"reason": "QUEUE_FULL", "used": used.queued - 1, "limit": self.queue_limit},
        )

    def _exceeded(self, reason: Quota, used: float, limit: float, wait: float | None) -> Refusal:
        told = f"{used:g} of {limit:g} {_QUOTAS[reason]}"
        never = "the operator has to raise this limit; results that are there can still be read"
        return Refusal(
            "QUOTA_EXCEEDED",
            f"the caller has used {told}",
            retry_after_s=None if wait is None or limit <= 0 else max(1, math.ceil(wait)),
            next_step=never if limit <= 0 else _ADVICE[reason],
            details={"reason": reason, "used": used, "limit": limit},
        )


_QUOTAS: Final[dict[Quota, str]] = {
    "RUNS_PER_DAY": "runs in 24 hours",
    "TRAINING_MINUTES": "minutes of work in 24 hours",
    "RUNS_AT_ONCE": "runs queued or running at once",
}
_READ_ON: Final = "wait retry_after_s, then make the same call; what was asked before can still be read and repeated"
_ADVICE: Final[dict[Quota, str]] = {
    "RUNS_PER_DAY": _READ_ON,
    "TRAINING_MINUTES": _READ_ON,
    "RUNS_AT_ONCE": "wait for one of your runs with get_run_status, or cancel one, then make the same call",
}

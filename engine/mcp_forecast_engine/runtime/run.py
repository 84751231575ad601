"""A run and its states: the one table of transitions, and the view of a ledger row that everyone reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, Literal, cast, get_args

from sqlalchemy import RowMapping

State = Literal[
    "QUEUED",
    "RUNNING",
    "EVAL_READY",
    "SUCCEEDED",
    "PASS",
    "FAIL",
    "PUBLISH_PENDING",
    "PUBLISHED",
    "FAILED",
    "CANCELLED",
]
STATES: Final[tuple[State, ...]] = get_args(State)

# A forecast ends as SUCCEEDED, a training as PASS or FAIL, which is what its gate says; a training of a release before
# the gates has SUCCEEDED. RUNNING or EVAL_READY → RUNNING is a lost worker's run taken over; FAILED → QUEUED only where
# a repeat may cure it.
TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    "QUEUED": frozenset({"RUNNING", "SUCCEEDED", "CANCELLED"}),
    "RUNNING": frozenset({"RUNNING", "EVAL_READY", "SUCCEEDED", "FAILED", "CANCELLED"}),
    "EVAL_READY": frozenset({"RUNNING", "PASS", "FAIL", "FAILED", "CANCELLED"}),
    "SUCCEEDED": frozenset(),
    "PASS": frozenset({"PUBLISH_PENDING", "PUBLISHED"}),
    "FAIL": frozenset(),
    "PUBLISH_PENDING": frozenset({"PUBLISHED"}),
    "PUBLISHED": frozenset(),
    "FAILED": frozenset({"QUEUED"}),
    "CANCELLED": frozenset({"QUEUED"}),
}
HELD: Final[tuple[State, ...]] = ("RUNNING", "EVAL_READY")  # a worker has it
OPEN: Final[tuple[State, ...]] = ("QUEUED", *HELD)
FINISHED: Final[tuple[State, ...]] = ("SUCCEEDED", "PASS", "FAIL", "PUBLISH_PENDING", "PUBLISHED")  # there is a result


def sources(state: State) -> tuple[State, ...]:
    """The states from which `state` may be entered."""
    return tuple(source for source in STATES if state in TRANSITIONS[source])


@dataclass(frozen=True)
class Progress:
    """How far a run is: `done` of `total` units, and a sentence for people."""

    done: int = 0
    total: int = 0
    text: str = ""


@dataclass(frozen=True)
class Run:
    """One run as the ledger holds it. Times are seconds since 1970, UTC; `result` is an artifact digest.

    `error` is {reason, disposition, message} and, where known, field, allowed, next_step, correlation_id.
    """

    run_id: str
    run_key: str
    kind: str
    state: State
    plan: dict[str, Any]
    caller: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    attempt: int
    losses: int
    epoch: int
    lease_owner: str | None
    lease_until: float | None
    worker_pid: int | None
    worker_started: float | None
    cancel_requested: bool
    wall_limit_s: float
    progress_done: int
    progress_total: int
    progress_text: str
    result: str | None
    error: dict[str, Any] | None

    @property
    def ended(self) -> bool:
        """Whether this attempt is over."""
        return self.state not in OPEN

    @property
    def finished(self) -> bool:
        """Whether it has a result, whatever its gate says."""
        return self.state in FINISHED

    def worked_s(self, now: float) -> float:
        """Seconds this attempt has worked: until its end, or until now."""
        if self.started_at is None:
            return 0.0
        return max(0.0, (now if self.ended_at is None else self.ended_at) - self.started_at)

    def reopens_within(self, wall_limit_s: float) -> bool:
        """Whether asking for it again, with this limit, starts a new attempt.

        So it is when it was cancelled, or failed in a way that a repeat may cure, or ran out of less time than this.
        """
        if self.state != "FAILED" or self.error is None:
            return self.state == "CANCELLED"
        has_more_time = self.error.get("reason") == "TIME_LIMIT" and wall_limit_s > self.wall_limit_s
        return has_more_time or self.error.get("disposition") == "retryable"


def read_run(row: RowMapping) -> Run:
    """A run from a row of the table `run`."""
    values = {str(name): value for name, value in row.items()}
    values["state"] = cast(State, values["state"])
    values["plan"] = json.loads(values["plan"])
    values["error"] = None if values["error"] is None else json.loads(values["error"])
    return Run(**values)


def time_limit_error(wall_limit_s: float) -> dict[str, Any]:
    """Why a run that took too long has failed."""
    return {
        "reason": "TIME_LIMIT",
        "disposition": "terminal",
        "message": f"the run took longer than its limit of {wall_limit_s:g} s",
        "next_step": "send less data, or raise the limit and make the same call again; finished steps are kept",
    }


def worker_lost_error(losses: int) -> dict[str, Any]:
    """Why a run whose workers died has failed."""
    return {
        "reason": "WORKER_LOST",
        "disposition": "retryable",
        "message": f"{losses} workers in a row ended without a result (killed, crashed or out of memory)",
        "next_step": "make the same call again; finished steps are kept",
    }

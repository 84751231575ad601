"""Contracts of the runs: how one looks, wait for it, cancel it, list them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from mcp_forecast_contracts.contract import Contract
from mcp_forecast_contracts.schema import (
    Answer,
    Arguments,
    Cursor,
    Int,
    Key,
    ResponseFormat,
    RunId,
)

Kind = Literal["training", "inference"]
State = Literal[
    "QUEUED", "RUNNING", "EVAL_READY", "SUCCEEDED", "PASS", "FAIL", "PUBLISH_PENDING", "PUBLISHED", "FAILED",
    "CANCELLED",
]  # fmt: skip


class Progress(Answer):
    """How far a run is; `done` of `total` units."""

    done: int
    total: int
    text: str


class RunError(Answer):
    """Why a run failed, or waits: of the shape that an answer's own error has."""

    code: str
    category: str
    disposition: str
    retry_after_s: float | None = None
    message: str
    field: str | None = None
    allowed: list[str] | None = None
    next_step: str
    details: dict[str, Any] | None = None


class RunAnswer(Answer):
    """One run of the ledger; the same row that progress and waiting show."""

    run_id: str
    kind: Kind
    state: State
    attempt: Annotated[int, Field(description="times it was asked for; above 1: reopened")]
    progress: Progress
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None
    request: Annotated[dict[str, Any], Field(description="what was asked: dataset_id, horizon, …")]
    result: Annotated[
        dict[str, Any] | None,
        Field(
            description="as stored. training: trust, gate, tried, serving; inference: the forecast. The run's warnings "
            "are in it; those beside it are about this request"
        ),
    ] = None
    error: Annotated[RunError | None, Field(description="why the run failed, or waits; like error of an answer")] = None
    poll_after_s: Annotated[float | None, Field(description="wait this long before asking again")] = None
    next_step: str


class GetRunStatusArguments(Arguments):
    """Which run, and how long to wait for its end."""

    run_id: RunId
    wait_s: Annotated[Int, Field(ge=0, le=25, description="wait up to this long for the run to end")] = 0
    limit: Annotated[
        Int | None,
        Field(
            ge=1, le=5000, description="rows (series × steps) per page of a forecast, e.g. 5000; left out: a short page"
        ),
    ] = None
    cursor: Cursor | None = None
    response_format: ResponseFormat = "concise"


class CancelRunArguments(Arguments):
    """Which run to stop."""

    run_id: RunId
    idempotency_key: Key


class ListRunsArguments(Arguments):
    """Which runs, newest first."""

    kind: Annotated[Kind | None, Field(description="only this kind")] = None
    state: Annotated[State | None, Field(description="only this state")] = None
    limit: Annotated[Int, Field(ge=1, le=100, description="runs per page, at most")] = 20
    cursor: Cursor | None = None
    response_format: ResponseFormat = "concise"


class RunLine(Answer):
    """One run in a list."""

    run_id: str
    kind: Kind
    state: State
    created_at: str
    ended_at: str | None = None
    request: dict[str, Any]
    verdict: Annotated[str | None, Field(description="training: trust, caution or do_not_trust")] = None
    details: Annotated[
        dict[str, Any] | None, Field(description="detailed: attempt, progress, plan, trust, what was tried, error")
    ] = None


class ListRunsAnswer(Answer):
    """A page of runs, newest first."""

    runs: list[RunLine]
    total: int
    has_more: bool
    next_cursor: str | None = None


GET_RUN_STATUS: Final = Contract(
    name="get_run_status",
    version="0.3.0",
    title="Look at a run, or wait for it",
    description=(
        "State, progress and, once ended, the result or error of a run. With wait_s (at most 25) it waits for the "
        "end and answers as soon as it comes: call it again until the state is none of QUEUED, RUNNING and EVAL_READY. "
        "PASS and FAIL are what the gate of a training says of its result; FAILED is an error. The detailed format "
        "adds the plan and the whole evaluation. Of a long forecast a page is shown: `limit` makes it longer, "
        "forecast.json of result.artifacts holds all of it."
    ),
    arguments=GetRunStatusArguments,
    result=RunAnswer,
    effect="read",
    errors=("NOT_FOUND", "CURSOR_INVALID", "ARTIFACT_CORRUPT"),
    examples=({"run_id": "run_0123456789abcdef01234567", "wait_s": 25},),
)
CANCEL_RUN: Final = Contract(
    name="cancel_run",
    version="0.3.0",
    title="Cancel a run",
    description=(
        "Stop a queued or running run; its process is gone within 5 seconds. A finished run stays as it is. The "
        "same training call later starts a new attempt under the same run_id."
    ),
    arguments=CancelRunArguments,
    result=RunAnswer,
    effect="command",
    errors=("NOT_FOUND", "IDEMPOTENCY_CONFLICT", "ARTIFACT_CORRUPT"),
    examples=({"run_id": "run_0123456789abcdef01234567", "idempotency_key": "cancel-1"},),
    destructive=True,
)
LIST_RUNS: Final = Contract(
    name="list_runs",
    version="0.3.0",
    title="List runs",
    description="The runs of this home, newest first, by kind and state, page by page; use it to find a run_id again.",
    arguments=ListRunsArguments,
    result=ListRunsAnswer,
    effect="read",
    errors=("CURSOR_INVALID",),
    examples=({}, {"kind": "training", "state": "PASS", "limit": 5}),
)

"""Contracts of the run tools: train, infer, wait, cancel, list."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from mcp_forecast_contracts.contract import Contract
from mcp_forecast_contracts.envelope import ErrorBody
from mcp_forecast_contracts.schema import (
    Answer,
    Arguments,
    Cursor,
    DatasetId,
    Int,
    Key,
    Name,
    PreprocessingId,
    ResponseFormat,
    RunId,
)

Kind = Literal["training", "inference"]
State = Literal["QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]
Level = Annotated[Int, Field(description="per cent covered by an interval")]


class RunTrainingArguments(Arguments):
    """What to train on and how far ahead; everything else has a sound default."""

    dataset_id: DatasetId
    horizon: Annotated[Int, Field(ge=1, le=8760, description="steps ahead to forecast, e.g. 24 for a day of hours")]
    profile: Annotated[
        Literal["default"],
        Field(description="named set of training choices; default picks columns, models and their mix by validation"),
    ] = "default"
    covariates: Annotated[
        list[Name] | None,
        Field(max_length=500, description="covariates that may be used; left out: all eligible; []: target-only"),
    ] = None
    season_length: Annotated[
        Int | None, Field(ge=1, le=8784, description="steps per season if not the usual one, e.g. 24 for hours")
    ] = None
    test_windows: Annotated[
        Int | None, Field(ge=1, le=400, description="rolling origins the forecast is judged on; default by length")
    ] = None
    budget: Annotated[
        Literal["small", "large"],
        Field(description="how many models are tried: seconds of CPU (small), or about a minute (large)"),
    ] = "small"
    holidays: Annotated[
        str | None,
        Field(
            pattern="^[A-Z]{2,3}(-[A-Za-z0-9][A-Za-z0-9 .'-]{0,39})?$",
            description='public holidays as known-future covariates, sent by nobody: country code, e.g. "US", "US-CA"',
        ),
    ] = None
    preprocessing_id: Annotated[
        PreprocessingId | None, Field(description="steps of run_preprocessing; left out: the default steps")
    ] = None
    idempotency_key: Key | None = None


class Progress(Answer):
    """How far a run is; `done` of `total` units."""

    done: int
    total: int
    text: str


class RunAnswer(Answer):
    """One run of the ledger; the same row that progress and waiting show."""

    run_id: str
    kind: Kind
    state: State
    attempt: Annotated[int, Field(description="times this run was asked for; above 1 after a reopening")]
    progress: Progress
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None
    request: Annotated[dict[str, Any], Field(description="what was asked: dataset_id, horizon, …")]
    result: Annotated[
        dict[str, Any] | None,
        Field(
            description="as stored. training: trust, tried, metrics, serving needs; inference: the forecast. The run's "
            "warnings are in it; those beside it are about this request"
        ),
    ] = None
    error: Annotated[ErrorBody | None, Field(description="why the run failed")] = None
    poll_after_s: Annotated[float | None, Field(description="wait this long before asking again")] = None
    next_step: str


class RunInferenceArguments(Arguments):
    """Which trained run forecasts, from which data, with which known future."""

    run_id: Annotated[RunId, Field(description="a SUCCEEDED training run")]
    dataset_id: Annotated[
        str | None,
        Field(pattern="^ds_[0-9a-f]{24}$", description="newer data of the same columns; left out: the training data"),
    ] = None
    horizon: Annotated[Int | None, Field(ge=1, le=8760, description="steps ahead, at most the trained horizon")] = None
    future: Annotated[
        list[dict[str, Any]] | None,
        Field(
            min_length=1,
            max_length=20000,
            description="known-future covariates after the last target, one row per series and step, same column names",
        ),
    ] = None
    levels: Annotated[
        list[Level] | None,
        Field(min_length=1, max_length=6, description="intervals in %: 20, 40, 60, 80, 90, 95; default [80, 95]"),
    ] = None
    explain: Annotated[
        bool,
        Field(description="also say how much each covariate, recent history and calendar moved it; at most 50 series"),
    ] = False
    wait_s: Annotated[Int, Field(ge=0, le=25, description="answer inline if done within this; else a handle")] = 10
    idempotency_key: Key | None = None


class GetRunStatusArguments(Arguments):
    """Which run, and how long to wait for its end."""

    run_id: RunId
    wait_s: Annotated[Int, Field(ge=0, le=25, description="wait up to this long for the run to end")] = 0
    limit: Annotated[
        Int | None,
        Field(ge=1, le=5000, description="rows (series × steps) per page of a forecast; left out: a short page"),
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


RUN_TRAINING: Final = Contract(
    name="run_training",
    version="0.3.0",
    title="Train and judge a forecast",
    description=(
        "Train on a dataset and judge the forecast by rolling-origin evaluation; returns a run_id at once, then "
        "call get_run_status with wait_s until it ends. Tries seasonal naive, a target-only model and one with "
        "covariates on identical windows and keeps what validation supports. The result says whether to trust it: "
        "skill against seasonal naive with its interval, coverage, what was tried. The same request is the same "
        "run; after a cancel or a retryable failure the same call starts a new attempt. Answers are kept as long as"
        " the home."
    ),
    arguments=RunTrainingArguments,
    result=RunAnswer,
    scope="forecast:write",
    effect="command",
    key="optional",
    errors=(
        "NOT_FOUND",
        "QUOTA_EXCEEDED",
        "DATA_INVALID",
        "COVARIATES_MISMATCH",
        "HISTORY_TOO_SHORT",
        "IDEMPOTENCY_CONFLICT",
        "ARTIFACT_CORRUPT",
    ),
    examples=(
        {"dataset_id": "ds_0123456789abcdef01234567", "horizon": 24},
        {
            "dataset_id": "ds_0123456789abcdef01234567",
            "horizon": 24,
            "covariates": [],
            "idempotency_key": "target-only-1",
        },
    ),
)
RUN_INFERENCE: Final = Contract(
    name="run_inference",
    version="0.3.0",
    title="Forecast",
    description=(
        "Forecast with a finished training run: median, and quantile intervals that never cross, for each series "
        "and step. Answers inline within wait_s; above 1,000 series or past wait_s it returns a run_id for "
        "get_run_status. Models trained with known-future covariates need their values for every step: in `future`,"
        " or in dataset rows after the last target. The answer repeats the trust of the training run; "
        "get_run_status pages through a long one."
    ),
    arguments=RunInferenceArguments,
    result=RunAnswer,
    scope="forecast:write",
    effect="command",
    key="optional",
    errors=(
        "NOT_FOUND", "QUOTA_EXCEEDED", "DATA_INVALID", "COVARIATES_MISMATCH", "HISTORY_TOO_SHORT", "RUN_NOT_READY",
        "RUN_FAILED", "IDEMPOTENCY_CONFLICT", "ARTIFACT_CORRUPT",
    ),
    examples=(
        {"run_id": "run_0123456789abcdef01234567"},
        {
            "run_id": "run_89abcdef0123456789abcdef",
            "future": [{"ds": "2025-02-01", "temp": 4.5}, {"ds": "2025-02-02", "temp": 3.0}],
            "levels": [80],
            "explain": True,
        },
    ),
)  # fmt: skip
GET_RUN_STATUS: Final = Contract(
    name="get_run_status",
    version="0.2.0",
    title="Look at a run, or wait for it",
    description=(
        "State, progress and, once ended, the result or error of a run. With wait_s (at most 25) it waits for the "
        "end and answers as soon as it comes: call it again until the state is SUCCEEDED, FAILED or CANCELLED. The "
        "detailed format adds the plan and the whole evaluation: every arm, its intervals and coverage by step."
    ),
    arguments=GetRunStatusArguments,
    result=RunAnswer,
    scope="forecast:read",
    effect="read",
    key="none",
    errors=("NOT_FOUND", "CURSOR_INVALID", "ARTIFACT_CORRUPT"),
    examples=({"run_id": "run_0123456789abcdef01234567", "wait_s": 25},),
)
CANCEL_RUN: Final = Contract(
    name="cancel_run",
    version="0.2.0",
    title="Cancel a run",
    description=(
        "Stop a queued or running run; its process is gone within 5 seconds. A finished run stays as it is. The "
        "same training call later starts a new attempt under the same run_id."
    ),
    arguments=CancelRunArguments,
    result=RunAnswer,
    scope="forecast:write",
    effect="command",
    key="required",
    errors=("NOT_FOUND", "IDEMPOTENCY_CONFLICT", "ARTIFACT_CORRUPT"),
    examples=({"run_id": "run_0123456789abcdef01234567", "idempotency_key": "cancel-1"},),
    destructive=True,
)
LIST_RUNS: Final = Contract(
    name="list_runs",
    version="0.2.0",
    title="List runs",
    description="The runs of this home, newest first, by kind and state, page by page; use it to find a run_id again.",
    arguments=ListRunsArguments,
    result=ListRunsAnswer,
    scope="forecast:read",
    effect="read",
    key="none",
    errors=("CURSOR_INVALID",),
    examples=({}, {"kind": "training", "state": "SUCCEEDED", "limit": 5}),
)

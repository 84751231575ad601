"""Contract of run_training: what to train on, how far ahead, and by how much of a search."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from mcp_forecast_contracts.bundles import ScopeArguments
from mcp_forecast_contracts.contract import Contract
from mcp_forecast_contracts.runs import RunAnswer
from mcp_forecast_contracts.schema import DatasetId, Int, Key, Name, Place, PreprocessingId


class RunTrainingArguments(ScopeArguments):
    """What to train on and how far ahead; everything else has a sound default.

    environment, mode, slot, tenant: what the model is made for: it is measured against what is ACTIVE exactly there.
    Promoted elsewhere it is not compared with what is ACTIVE in that scope.
    """

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
    label_asof: Annotated[
        str | None,
        Field(
            max_length=40,
            description="only of data with observed times, and needed there: train on what was known then, ISO 8601, "
            "UTC; `observed.last` of describe_dataset leaves nothing out",
        ),
    ] = None
    maturity_days: Annotated[
        Int | None, Field(ge=0, le=3650, description="with label_asof: leave out targets younger than this then")
    ] = None
    governance_profile: Annotated[
        Place,
        Field(
            description="limits of the gate: default; strict, which repeats the whole choice blind; exploratory; or "
            "one of the operator's"
        ),
    ] = "default"
    idempotency_key: Key | None = None


RUN_TRAINING: Final = Contract(
    name="run_training",
    version="0.4.0",
    title="Train and judge a forecast",
    description=(
        "Train on a dataset and judge the forecast by rolling-origin evaluation; returns a run_id at once, then "
        "call get_run_status with wait_s until it ends. Chosen on earlier windows than it is judged on: first which "
        "columns help (none, known-future ones and `holidays`, historical ones), then which models on them, from "
        "seasonal naive over regressions and classical models to networks, as far as `budget` reaches, alone or "
        "mixed. The result says whether to trust it: skill against seasonal naive with its interval, coverage, what "
        "was tried and took how many CPU seconds. The same request is the same run while the same bundle is ACTIVE in "
        "its scope, which it is measured against; after a cancel or a retryable failure the same call starts a new "
        "attempt. Answers are kept as long as the home."
    ),
    arguments=RunTrainingArguments,
    result=RunAnswer,
    effect="command",
    errors=(
        "NOT_FOUND",
        "QUOTA_EXCEEDED",
        "DATA_INVALID",
        "COVARIATES_MISMATCH",
        "HISTORY_TOO_SHORT",
        "REQUEST_REFUSED",
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

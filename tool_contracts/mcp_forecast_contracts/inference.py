"""Contract of run_inference: which model forecasts, from which data, with which known future."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from mcp_forecast_contracts.bundles import ScopeArguments
from mcp_forecast_contracts.contract import Contract
from mcp_forecast_contracts.runs import RunAnswer
from mcp_forecast_contracts.schema import BundleId, Int, Key, RunId, Version

Level = Annotated[Int, Field(description="per cent covered by an interval")]


class RunInferenceArguments(ScopeArguments):
    """Which model forecasts, from which data, with which known future.

    A run, or a bundle, or neither: then the bundle answers that is ACTIVE in the scope.
    """

    run_id: Annotated[RunId | None, Field(description="a training run that has ended with a result")] = None
    bundle_id: Annotated[BundleId | None, Field(description="a published bundle, ACTIVE or not")] = None
    version: Version | None = None
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


RUN_INFERENCE: Final = Contract(
    name="run_inference",
    version="0.4.0",
    title="Forecast",
    description=(
        "Forecast with a finished training run, a published bundle, or, if neither is named, the bundle that is "
        "ACTIVE in the scope, else in its slot `fallback`, with a warning; result.model.served_by says which and "
        "why. Median, and quantile intervals that never cross, for each series and step. Answers inline within "
        "wait_s; above 1,000 series or past wait_s it returns a run_id for get_run_status. Models trained with "
        "known-future covariates need their values for every step: in `future`, or in dataset rows after the last "
        "target. The answer repeats the trust of the training run; get_run_status pages through a long one."
    ),
    arguments=RunInferenceArguments,
    result=RunAnswer,
    effect="command",
    errors=(
        "NOT_FOUND", "QUOTA_EXCEEDED", "DATA_INVALID", "COVARIATES_MISMATCH", "HISTORY_TOO_SHORT", "RUN_NOT_READY",
        "RUN_FAILED", "IDEMPOTENCY_CONFLICT", "ARTIFACT_CORRUPT", "EVIDENCE_INVALID", "BUNDLE_INCOMPATIBLE",
    ),
    examples=(
        {"run_id": "run_0123456789abcdef01234567"},
        {
            "run_id": "run_89abcdef0123456789abcdef",
            "future": [{"ds": "2025-02-01", "temp": 4.5}, {"ds": "2025-02-02", "temp": 3.0}],
            "levels": [80],
            "explain": True,
        },
        {"bundle_id": "bnd_0123456789abcdef01234567", "horizon": 7},
        {"slot": "primary"},
    ),
)  # fmt: skip

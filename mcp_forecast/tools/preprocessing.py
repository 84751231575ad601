"""The preprocessing tool: steps are applied to a dataset, and get the name that training takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from mcp_forecast.calls.tool import Call, Outcome, Tool
from mcp_forecast.errors import Refusal
from mcp_forecast.tools.brief import MOST, brief
from mcp_forecast_contracts.preprocessing import RUN_PREPROCESSING, RunPreprocessingArguments

if TYPE_CHECKING:
    from mcp_forecast.app import App
    from mcp_forecast_engine.data.steps import Change
    from mcp_forecast_engine.factory.preprocessing import PreparedPreprocessing

SHOWN_CHANGES: Final = 2  # of each step


def apply(app: App, call: Call, request: RunPreprocessingArguments) -> PreparedPreprocessing:
    """Apply the steps and store the report; they have no name yet."""
    if request.steps is not None and request.preprocessing_id is not None:
        raise Refusal(
            "INVALID_ARGUMENTS",
            "at most one of steps and preprocessing_id may be given; with neither, the default steps are applied",
            field="steps",
            allowed=["steps", "preprocessing_id"],
            details={"reason": "ONE_OF"},  # no contract can say this: portable schemas have no top-level oneOf
        )
    return app.engine.datasets.prepare_preprocessing(
        request.dataset_id,
        steps=None if request.steps is None else [step.model_dump(exclude_none=True) for step in request.steps],
        by_id=request.preprocessing_id,
        season_length=request.season_length,
    )


def name(
    app: App, call: Call, request: RunPreprocessingArguments, prepared: PreparedPreprocessing, connection: Connection
) -> Outcome:
    """Give the steps their name; steps that have one keep it."""
    created = app.engine.datasets.record_preprocessing(connection, prepared, now=call.at)
    refs = {"preprocessing_id": prepared.preprocessing_id, "report": prepared.artifact}
    answer = _answer(prepared, request.season_length)
    return Outcome(brief({**answer, "created": created}), refs, prepared.report.warnings)


def _answer(prepared: PreparedPreprocessing, season_length: int | None) -> dict[str, Any]:
    report = prepared.report
    season = "" if season_length is None else f" and season_length {season_length}"
    return {
        "preprocessing_id": prepared.preprocessing_id,
        "dataset_id": prepared.dataset_id,
        "rows_before": prepared.rows,
        "rows_after": prepared.shape.steps,
        "steps": [{**r.step, "changed": r.changed, "summary": r.summary} for r in report.steps],
        "changes": [_change(at, c) for at, r in enumerate(report.steps) for c in r.first[:SHOWN_CHANGES]][:MOST],
        "panel": prepared.shape.to_dict(),
        "left_out": list(report.left_out[:MOST]),
        "left_out_total": len(report.left_out),
        "report": prepared.artifact,
        "next_step": f"run_training with this dataset_id, a horizon in steps of {prepared.shape.freq!r} and "
        f"preprocessing_id {prepared.preprocessing_id}{season}; to change something, call again with other steps",
    }


def _change(step: int, change: Change) -> dict[str, Any]:
    values = {"before": change.before, "after": change.after}
    told: dict[str, Any] = {"step": step, "series": change.series, "ds": change.ds, "column": change.column}
    return {**told, **{when: value for when, value in values.items() if value is not None}}


PREPROCESSING_TOOLS: Final = (Tool(RUN_PREPROCESSING, prepare=apply, commit=name),)

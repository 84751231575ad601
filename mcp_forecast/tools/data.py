"""The data tools: register and describe datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mcp_forecast_contracts.data import (
    DESCRIBE_DATASET,
    REGISTER_DATASET,
    DescribeDatasetArguments,
    RegisterDatasetArguments,
)
from sqlalchemy import Connection

from mcp_forecast.errors import Refusal
from mcp_forecast.tool import Call, Outcome, Tool
from mcp_forecast.tools.cursor import make_cursor, read_cursor
from mcp_forecast.tools.paths import read_allowed

if TYPE_CHECKING:
    from mcp_forecast_engine.data.registration import PreparedDataset

    from mcp_forecast.app import App

_COLUMNS: Final = ("time", "target", "series", "wide", "freq", "time_format", "drop")
CHECK_ROLES: Final = (
    "check the covariate roles; then run_training with this dataset_id and a horizon. To correct a role, call "
    "register_dataset again with `covariates`"
)


def read_source(app: App, call: Call, request: RegisterDatasetArguments) -> PreparedDataset:
    """Read the file or the rows and store the dataset's bytes; nothing is registered yet."""
    if (request.path is None) == (request.rows is None):
        raise Refusal(
            "INVALID_ARGUMENTS",
            "exactly one of path and rows is needed",
            field="path",
            allowed=["path", "rows"],
            details={"reason": "ONE_OF"},  # no contract can say this: portable schemas have no top-level oneOf
        )
    from mcp_forecast_engine.data.registration import DatasetRequest  # numpy: only where a dataset is made

    asked = DatasetRequest(
        name=request.name,
        columns={name: value for name in _COLUMNS if (value := getattr(request, name)) is not None},
        covariates=tuple(c.model_dump(exclude_none=True) for c in request.covariates or ()),
    )
    if request.rows is not None:
        return app.engine.prepare_rows(request.rows, asked)
    assert request.path is not None
    return app.engine.prepare_file(read_allowed(request.path, app.settings.roots), request.path, asked)


def register(
    app: App, call: Call, request: RegisterDatasetArguments, prepared: PreparedDataset, connection: Connection
) -> Outcome:
    """Give the dataset its name."""
    created = app.engine.record_dataset(connection, prepared, now=call.at)
    result = {**prepared.summary, "created": created, "next_step": CHECK_ROLES}
    return Outcome(_answer(result), {"dataset_id": prepared.dataset_id}, prepared.warnings)


def describe(app: App, call: Call, request: DescribeDatasetArguments) -> Outcome:
    """The stored summary and one page of series."""
    after = read_cursor("series", request.cursor) or 0
    with app.database.read() as connection:
        summary = app.engine.dataset_summary(connection, request.dataset_id)
    page, total = app.engine.series_page(summary, after=after, limit=request.limit)
    shown = after + len(page)
    result: dict[str, Any] = {
        **_answer(summary),
        "covariate_stats": summary["covariate_stats"],
        "series_page": page,
        "has_more": shown < total,
        "next_step": CHECK_ROLES,
    }
    if shown < total:
        result["next_cursor"] = make_cursor("series", shown)
    return Outcome(result, {"dataset_id": request.dataset_id})


def _answer(summary: dict[str, Any]) -> dict[str, Any]:
    hidden = {"covariate_stats", "artifact", "schema"}
    return {name: value for name, value in summary.items() if name not in hidden and value is not None}


DATA_TOOLS: Final = (
    Tool(REGISTER_DATASET, prepare=read_source, commit=register),
    Tool(DESCRIBE_DATASET, read=describe, short=False),
)

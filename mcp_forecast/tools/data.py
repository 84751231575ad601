"""The data tools: register and describe datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from mcp_forecast.calls.tool import Call, Outcome, Tool
from mcp_forecast.errors import Refusal
from mcp_forecast.tools.artifacts import artifact_line
from mcp_forecast.tools.brief import MOST, brief
from mcp_forecast.tools.cursor import ROW, make_cursor, read_cursor
from mcp_forecast.tools.length import ROOM, few, fitted, fitting, length
from mcp_forecast.tools.paths import read_allowed
from mcp_forecast_contracts.data import (
    DESCRIBE_DATASET,
    REGISTER_DATASET,
    DescribeDatasetArguments,
    RegisterDatasetArguments,
)

if TYPE_CHECKING:
    from mcp_forecast.app import App
    from mcp_forecast_engine.data.registration import PreparedDataset

_COLUMNS: Final = ("time", "target", "series", "wide", "freq", "time_format", "time_zone", "drop", "observed")
CHECK_ROLES: Final = (
    "check the covariate roles; then run_training with this dataset_id and a horizon (run_preprocessing shows what is "
    "filled and merged first). To correct a role, call register_dataset again with `covariates`"
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
        return app.engine.datasets.prepare_rows(request.rows, asked)
    assert request.path is not None
    data, name = read_allowed(request.path, app.settings.roots)
    return app.engine.datasets.prepare_file(data, name, asked)


def register(
    app: App, call: Call, request: RegisterDatasetArguments, prepared: PreparedDataset, connection: Connection
) -> Outcome:
    """Give the dataset its name; content that has one keeps it."""
    created = app.engine.datasets.record(connection, prepared, now=call.at)
    summary = app.engine.datasets.summary(connection, prepared.dataset_id)
    result = {**_answer(summary), "created": created}
    return Outcome(brief(result), {"dataset_id": prepared.dataset_id}, prepared.warnings)


def describe(app: App, call: Call, request: DescribeDatasetArguments) -> Outcome:
    """The stored summary and one page of what is in it: its covariates first, then its series."""
    listing = f"dataset {request.dataset_id}"
    first = read_cursor(listing, request.cursor, ROW) or 0
    with app.database.read() as connection:
        summary = app.engine.datasets.summary(connection, request.dataset_id)
    stats = summary["covariate_stats"]
    covariates = [{**c, **_present(stats[c["name"]])} for c in summary["covariates"]]
    shown = covariates[first : first + request.limit]
    after = max(first - len(covariates), 0)
    series, count = app.engine.datasets.series_page(summary, after=after, limit=request.limit - len(shown))
    how = request.response_format
    about = fitted({**_answer(summary), "covariates": []}, how) | _stored(app, call, request)
    fits = fitting([*shown, *series], room=ROOM[how] - length(about))
    shown, series = shown[:fits], series[: max(fits - len(shown), 0)]
    end = first + len(shown) + len(series)
    has_more = end < len(covariates) + count
    result: dict[str, Any] = {**about, "covariates": shown, "series_page": series, "has_more": has_more}
    if has_more:
        result["next_cursor"] = make_cursor(listing, end)
    return Outcome(result, warnings=few(summary.get("warnings", ())))


def _stored(app: App, call: Call, request: DescribeDatasetArguments) -> dict[str, Any]:
    """In detail: the bytes of the dataset and of what preprocessing reported of it, the newest ones."""
    if request.response_format == "concise":
        return {}
    wanted = {"dataset_id": request.dataset_id}
    with app.database.read() as connection:
        found, _ = app.engine.artifacts_page(connection, wanted=wanted, after=None, limit=MOST)
    return {"artifacts": [artifact_line(app, call.caller, artifact, request.response_format) for artifact in found]}


def _answer(summary: dict[str, Any]) -> dict[str, Any]:
    hidden = {"covariate_stats", "warnings"}
    shown = {name: value for name, value in _present(summary).items() if name not in hidden}
    return {**shown, "covariates_total": len(summary["covariates"]), "next_step": CHECK_ROLES}


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


DATA_TOOLS: Final = (
    Tool(REGISTER_DATASET, prepare=read_source, commit=register),
    Tool(DESCRIBE_DATASET, read=describe, short=False),
)

"""Contracts of the data tools: register and describe datasets."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from mcp_forecast_contracts.artifacts import ArtifactAnswer
from mcp_forecast_contracts.contract import Contract
from mcp_forecast_contracts.schema import TEXT, Answer, Arguments, Cursor, DatasetId, Int, Key, Name, ResponseFormat

Role = Literal["historical", "known_future", "static"]
Freq = Annotated[
    str,
    Field(
        min_length=1,
        max_length=20,
        pattern="^[0-9]*[A-Za-z]*(-[A-Z]{3})?$",
        description="step of the series, if not to be inferred: 15min, h, D, B, W-SUN, MS, QS, YS; 1 = numbered steps",
    ),
]


class CovariateCorrection(Arguments):
    """What you know better about one covariate than inference does."""

    name: Annotated[Name, Field(description="column name")]
    role: Annotated[
        Role | None,
        Field(
            description="historical: known only in the past; known_future: known ahead, e.g. calendar, plans, forecasts"
        ),
    ] = None
    type: Annotated[Literal["numeric", "boolean", "categorical"] | None, Field(description="value type")] = None
    nullable: Annotated[bool | None, Field(description="whether values may be missing")] = None
    source: Annotated[Name | None, Field(description="where the values come from, for the record")] = None


class RegisterDatasetArguments(Arguments):
    """Exactly one of `path` and `rows` is needed; the other columns are inferred when left out."""

    path: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=4000,
            pattern=TEXT,
            description="CSV (.csv, .csv.gz) or Parquet file below an allowed folder, e.g. data/sales.csv",
        ),
    ] = None
    rows: Annotated[
        list[dict[str, Any]] | None,
        Field(min_length=1, max_length=20000, description='rows inline, e.g. [{"ds": "2025-01-01", "y": 12.5}]'),
    ] = None
    name: Annotated[Name | None, Field(description="a label for people")] = None
    time: Annotated[Name | None, Field(description="time column, e.g. ds")] = None
    target: Annotated[Name | None, Field(description="column to forecast, e.g. y")] = None
    series: Annotated[
        list[Name] | None, Field(min_length=1, max_length=8, description='columns that name a series, e.g. ["store"]')
    ] = None
    wide: Annotated[
        list[Name] | None,
        Field(min_length=1, max_length=5000, description="wide table: target columns, each becomes one series"),
    ] = None
    freq: Freq | None = None
    time_format: Annotated[
        Name | None, Field(description="strptime format if the dates are ambiguous, e.g. %d/%m/%Y")
    ] = None
    covariates: Annotated[
        list[CovariateCorrection] | None,
        Field(max_length=500, description="corrections of the inferred covariate schema, e.g. a role of known_future"),
    ] = None
    time_zone: Annotated[
        Name | None, Field(description="zone of the wall clock if the times have zones, e.g. Europe/Berlin")
    ] = None
    drop: Annotated[list[Name] | None, Field(max_length=500, description="columns to leave out, e.g. row numbers")] = (
        None
    )
    observed: Annotated[
        Name | None,
        Field(
            description="column that says when a row became known (UTC unless it has zones), e.g. published_at; rows "
            "that share series and time are then revisions, and training reads what was known at its label_asof"
        ),
    ] = None
    idempotency_key: Key | None = None


class CovariateAnswer(Answer):
    """One covariate as it will be used."""

    name: str
    type: Literal["numeric", "boolean", "categorical"]
    role: Role
    nullable: bool
    source: str
    reason: Annotated[str, Field(description="why this role")]
    min: float | None = None
    max: float | None = None
    missing: int | None = None


class ObservedAnswer(Answer):
    """When the rows became known, and how many of them were revised."""

    column: str
    first: Annotated[str, Field(description="first observed time, UTC")]
    last: Annotated[str, Field(description="newest observed time, UTC: as label_asof it leaves nothing out")]
    rows: Annotated[int, Field(description="rows of all revisions; the other counts are of the newest ones")]
    revisions: Annotated[int, Field(description="rows that a newer one of the same series and time replaced")]
    conflicts: Annotated[
        int, Field(description="rows that contradict another one of the same series, time and observed time")
    ]


class DatasetAnswer(Answer):
    """An immutable dataset and what was found in it."""

    dataset_id: str
    digest: str
    name: str | None = None
    created: Annotated[bool | None, Field(description="false: the same content was registered before")] = None
    rows: int
    series_count: int
    time: str
    target: str
    series: list[str]
    freq: str
    season_length: int
    start: str
    end: str
    future_steps: Annotated[
        int, Field(description="steps after the last target for which known-future values are present")
    ]
    missing_target: int
    gaps: int
    duplicates: int
    shortest: Annotated[int, Field(description="rows of the shortest series")]
    longest: Annotated[int, Field(description="rows of the longest series")]
    covariates: Annotated[list[CovariateAnswer], Field(description="the first ones; describe_dataset shows all")]
    covariates_total: int
    covariate_schema_hash: Annotated[
        str | None, Field(description="digest of all covariates: name, type, role, nullable, source, categories")
    ] = None
    observed: Annotated[ObservedAnswer | None, Field(description="only of data that says when it became known")] = None
    next_step: str


class SeriesAnswer(Answer):
    """One series of a dataset."""

    unique_id: str
    start: str
    end: str
    rows: int
    missing_target: int
    mean: float | None = None
    last: float | None = None


class DescribeDatasetArguments(Arguments):
    """Which dataset, and which page of its covariates and series."""

    dataset_id: DatasetId
    limit: Annotated[Int, Field(ge=1, le=100, description="items per page, at most: covariates, then series")] = 20
    cursor: Cursor | None = None
    response_format: ResponseFormat = "concise"


class DescribeDatasetAnswer(DatasetAnswer):
    """A dataset with one page of its covariates (with their range) and series."""

    series_page: list[SeriesAnswer]
    has_more: bool
    next_cursor: str | None = None
    artifacts: Annotated[
        list[ArtifactAnswer] | None, Field(description="detailed: the stored dataset and its preprocessing reports")
    ] = None


REGISTER_DATASET: Final = Contract(
    name="register_dataset",
    version="0.4.0",
    title="Register a dataset",
    description=(
        "Turn a CSV or Parquet file (or inline rows) into an immutable dataset to forecast from; start here. Time, "
        "target and series columns, step and covariate roles are inferred and reported with reasons: check the "
        "roles, and call again with `covariates` corrections if a column is known ahead (calendar, prices, weather "
        "forecasts). Rows after the last target value may carry known-future covariates. The same content always "
        "gives the same dataset_id."
    ),
    arguments=RegisterDatasetArguments,
    result=DatasetAnswer,
    effect="command",
    errors=("PATH_NOT_ALLOWED", "FILE_UNREADABLE", "DATA_INVALID", "IDEMPOTENCY_CONFLICT"),
    examples=(
        {"path": "data/sales.csv", "time": "date", "target": "units", "series": ["store"]},
        {"rows": [{"ds": f"2025-01-{day:02d}", "y": float(10 + day % 7)} for day in range(1, 29)]},
        {
            "path": "bike_sharing_hourly.csv.gz",
            "target": "y",
            "covariates": [{"name": "temp", "role": "known_future", "source": "weather forecast"}],
        },
        {
            "rows": [
                {"ds": f"2025-01-{day:02d}", "y": float(10 + day % 7), "seen": f"2025-01-{day + 1:02d}T06:00:00Z"}
                for day in range(1, 29)
            ],
            "observed": "seen",
        },
    ),
)
DESCRIBE_DATASET: Final = Contract(
    name="describe_dataset",
    version="0.4.0",
    title="Describe a dataset",
    description=(
        "Show what is in a dataset: columns and their roles with reasons, step, span, gaps, covariate statistics, "
        "and its series page by page. Use it before training to check that known-future covariates really are known"
        " ahead."
    ),
    arguments=DescribeDatasetArguments,
    result=DescribeDatasetAnswer,
    effect="read",
    errors=("NOT_FOUND", "CURSOR_INVALID", "ARTIFACT_CORRUPT"),
    examples=({"dataset_id": "ds_0123456789abcdef01234567"}, {"dataset_id": "ds_0123456789abcdef01234567", "limit": 5}),
)

"""Which column of a table is what: the caller's wishes, and the choice made where the caller said nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mcp_forecast_engine.data.frame import Role
from mcp_forecast_engine.data.reading import Column, Table
from mcp_forecast_engine.data.times import looks_like_time
from mcp_forecast_engine.errors import DataInvalid

ValueType = Literal["numeric", "boolean", "categorical"]

TIME_NAMES = (
    "ds",
    "timestamp",
    "datetime",
    "date_time",
    "date",
    "time",
    "day",
    "hour",
    "week",
    "month",
    "period",
    "year",
)
TARGET_NAMES = (
    "y", "target", "value", "sales", "weekly_sales", "demand", "load", "price", "count", "cnt", "quantity", "qty",
    "units", "units_sold", "consumption", "volume", "revenue", "orders", "traffic",
)  # fmt: skip
SERIES_NAMES = ("unique_id", "series_id", "item_id", "series", "item", "sku", "id")
# More distinct texts than this are free text or names, of no use as a category.
MAX_CATEGORIES = 256


@dataclass(frozen=True)
class Correction:
    """What the caller says about one covariate; None leaves the inferred value."""

    name: str
    role: Role | None = None
    type: ValueType | None = None
    nullable: bool | None = None
    source: str | None = None


@dataclass(frozen=True)
class ColumnRoles:
    """What the caller says about a table; everything left out is inferred and can be corrected.

    series: columns that together name a series. wide: target columns, one series each. covariates: corrections; they
    do not leave other covariates out, `drop` does. time_format: a named format or strptime pattern. time_zone: the
    IANA zone of the wall clock for zoned times. source: where covariates come from ("file", "inline", or a text).
    observed: the column that says when a row became known; rows that share series and time are then its revisions.
    """

    time: str | None = None
    target: str | None = None
    series: tuple[str, ...] = ()
    wide: tuple[str, ...] = ()
    freq: str | None = None
    covariates: tuple[Correction, ...] = ()
    drop: tuple[str, ...] = ()
    time_format: str | None = None
    time_zone: str | None = None
    source: str = "file"
    observed: str | None = None


@dataclass(frozen=True)
class Layout:
    """The resolved columns: time, one target or several wide ones, series, covariates (sorted by name), observed."""

    time: str
    target: str
    series: tuple[str, ...]
    wide: tuple[str, ...]
    covariates: tuple[str, ...]
    notes: tuple[str, ...]
    observed: str | None = None


def resolve_columns(table: Table, request: ColumnRoles) -> Layout:
    """Give every column its place; raises ColumnMissing or DataInvalid with the candidates and the argument to name."""
    corrected = tuple(correction.name for correction in request.covariates)
    _check_names(table, request, corrected)
    elsewhere = {*request.drop, request.observed}
    left = {name: column for name, column in table.columns.items() if name not in elsewhere}
    time = request.time or _time(left, taken=_given(request))
    series = request.series or _series(left, taken={time, *_given(request), *corrected})
    target = "" if request.wide else request.target or _target(left, taken={time, *series, *corrected})
    for name in request.wide or (target,):
        if table.columns[name].kind not in ("number", "boolean"):
            found = f"column {name!r} holds {_content(table.columns[name])}; a target must hold numbers"
            raise DataInvalid(
                found, field="wide" if request.wide else "target", allowed=_numeric(left),
                next_step="name a column of numbers, or make this one hold numbers alone",
            )  # fmt: skip
    rest = {name: column for name, column in left.items() if name not in {time, target, *series, *request.wide}}
    useless = {name: why for name, column in rest.items() if (why := _useless(column))}
    for name in useless.keys() & set(corrected):
        raise DataInvalid(f"covariate {name!r} {useless[name]}", field="covariates", next_step="leave it out")
    notes = tuple(f"column {name!r} {why} and was left out" for name, why in sorted(useless.items()))
    covariates = tuple(sorted(rest.keys() - useless.keys()))
    told = tuple(sorted(table.notes)) + notes
    return Layout(time, target, series, request.wide, covariates, told, request.observed)


def _check_names(table: Table, request: ColumnRoles, corrected: tuple[str, ...]) -> None:
    fields = {"series": request.series, "wide": request.wide, "drop": request.drop, "covariates": corrected}
    single = {"time": request.time, "target": request.target, "observed": request.observed}
    fields |= {field: (name,) for field, name in single.items() if name}
    seen: dict[str, str] = {}
    for field, names in fields.items():
        for name in names:
            table.column(name, field=field)
            if name in seen:
                raise DataInvalid(
                    f"column {name!r} is named in {seen[name]} and in {field}", field=field,
                    next_step="name each column once",
                )  # fmt: skip
            seen[name] = field
    if request.wide and request.target:
        raise DataInvalid(
            "target and wide exclude each other", field="wide", allowed="one of target, wide",
            next_step="name one column with `target`, or several with `wide`",
        )  # fmt: skip


def _given(request: ColumnRoles) -> set[str]:
    return {*request.series, *request.wide, *([request.target] if request.target else [])}


def _numeric(columns: dict[str, Column]) -> list[str]:
    return [name for name, column in columns.items() if column.kind == "number"]


def _content(column: Column) -> str:
    """What a column holds instead of numbers; of texts, the first few that are no number."""
    if column.kind != "text":
        return "times"
    strange = [word for word in column.words if not re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", word)]
    return "text such as " + ", ".join(map(repr, (strange or column.words)[:3]))


def _by_name(columns: dict[str, Column], known: tuple[str, ...]) -> list[str]:
    lowered = {name.lower(): name for name in columns}
    return [lowered[name] for name in known if name in lowered]


def _time(columns: dict[str, Column], *, taken: set[str]) -> str:
    free = {name: column for name, column in columns.items() if name not in taken}
    dated = [name for name, column in free.items() if looks_like_time(column)]
    if len(dated) == 1:
        return dated[0]
    named = _by_name({name: free[name] for name in dated} if dated else free, TIME_NAMES)
    if named:
        return named[0]
    raise DataInvalid(
        f"the time column is not clear; the columns are {', '.join(map(repr, columns))}",
        field="time",
        allowed=dated or list(free),
        next_step="name the time column with `time`",
    )


def _target(columns: dict[str, Column], *, taken: set[str]) -> str:
    free = {name: column for name, column in columns.items() if name not in taken and column.kind == "number"}
    named = _by_name(free, TARGET_NAMES)
    if named or len(free) == 1:
        return named[0] if named else next(iter(free))
    raise DataInvalid(
        f"the target column is not clear; the numeric columns are {', '.join(map(repr, free)) or 'none'}",
        field="target",
        allowed=list(free),
        next_step="name the target column with `target`, or several target columns with `wide`",
    )


def _series(columns: dict[str, Column], *, taken: set[str]) -> tuple[str, ...]:
    free = {name: column for name, column in columns.items() if name not in taken}
    return tuple(_by_name({name: column for name, column in free.items() if _names_things(column)}, SERIES_NAMES)[:1])


def _names_things(column: Column) -> bool:
    if column.kind == "number":
        return not np.any(np.isnan(column.values)) and bool(np.all(column.values == np.floor(column.values)))
    return column.kind == "text"


def _useless(column: Column) -> str:
    """Why a column cannot be a covariate, or nothing."""
    if column.kind == "time":
        return "holds times"
    if column.missing.all():
        return "has no value at all"
    if len(column.words) > MAX_CATEGORIES:
        return f"has {len(column.words)} distinct texts (at most {MAX_CATEGORIES} make a category)"
    return ""

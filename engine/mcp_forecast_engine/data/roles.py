"""What a covariate is: its type, and whether it is static, known in advance, or only known afterwards."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.columns import Correction, ValueType
from mcp_forecast_engine.data.frame import Role
from mcp_forecast_engine.data.longform import LongRows, number_text
from mcp_forecast_engine.data.reading import Column
from mcp_forecast_engine.errors import DataInvalid

# Words in a column's name that the calendar decides, so that they are certain in advance.
CALENDAR = frozenset({
    "holiday", "holidays", "weekend", "weekday", "workday", "workingday", "businessday", "dow", "dayofweek",
    "dayofyear", "hour", "hr", "month", "mnth", "quarter", "week", "weekofyear", "year", "yr", "season", "school",
})  # fmt: skip
CALENDAR_PAIRS = ("working_day", "business_day", "day_of_week", "day_of_year", "week_of_year")
# Words that say nothing else beside one of these: what has any other word may be a forecast (temperature_hour).
_BESIDE = frozenset({
    "is", "in", "of", "the", "day", "days", "working", "business", "before", "after", "sin", "cos", "flag", "number",
    "public", "bank", "national", "state",
})  # fmt: skip
# Words that the caller's own plan decides, so that they are known in advance as well.
PLANNED = CALENDAR | {
    "event", "promo", "promos", "promotion", "promotions", "discount", "campaign", "onpromotion",
    "forecast", "planned", "scheduled",
}  # fmt: skip
PLANNED_PAIRS = (*CALENDAR_PAIRS, "on_promotion")


@dataclass(frozen=True)
class Coded:
    """A covariate as numbers: float64 (N), NaN where absent; categories are codes into `words`."""

    values: NDArray[np.float64]
    type: ValueType
    words: tuple[str, ...] = ()


def code_values(name: str, column: Column, wanted: ValueType | None) -> Coded:
    """Turn a column into numbers of the wanted or natural type; raises DataInvalid when the values do not fit."""
    natural = _natural_type(column)
    kind = wanted or natural
    if kind == natural and kind != "categorical":
        return Coded(column.values, kind)
    if column.kind == "text":
        if kind == "categorical":
            return Coded(np.where(column.values < 0, np.nan, column.values.astype(np.float64)), kind, column.words)
        raise _misfit(name, kind, f"holds texts such as {column.words[0]!r}")
    if kind == "numeric":
        return Coded(column.values, kind)
    present = np.unique(column.values[~np.isnan(column.values)])
    if kind == "boolean":
        raise _misfit(name, kind, f"holds numbers such as {number_text(float(present[-1]))}")
    codes = np.searchsorted(present, column.values).astype(np.float64)
    codes[np.isnan(column.values)] = np.nan
    return Coded(codes, kind, tuple(number_text(float(value)) for value in present))


def infer_role(name: str, coded: Coded, rows: LongRows, tail: NDArray[np.bool_]) -> tuple[Role, str]:
    """The role a covariate seems to have, and the sentence that says why; tail: rows after the last target."""
    if len(rows.unique_id) > 1 and constant_within(coded.values, rows.offsets):
        return "static", "one value within every series"
    if tail.any():
        absent = int(np.isnan(coded.values[tail]).sum())
        if not absent:
            return "known_future", f"given for all {int(tail.sum())} rows after the last target"
        return "historical", f"absent in {absent} of {int(tail.sum())} rows after the last target"
    if is_planned(name):
        return "known_future", "its name says that the calendar, a plan or a forecast gives it"
    return "historical", "nothing says that it is known in advance"


def is_planned(name: str) -> bool:
    """Whether a column's name says calendar or plan: is_holiday, workingday, dayOfWeek, promo_1."""
    tokens = _tokens(name)
    return any(token in PLANNED for token in tokens) or any(pair in "_".join(tokens) for pair in PLANNED_PAIRS)


def forecast_ahead(names: Iterable[str], derived: Collection[str]) -> tuple[str, ...]:
    """Those known-future columns of which a caller has a forecast or a plan; what the calendar decides is certain.

    derived: columns that are computed from the time stamps. By names alone, and only where every word of one is the
    calendar's: a certain column told as uncertain misleads less than the opposite.
    """
    return tuple(name for name in names if name not in derived and not _is_calendar(name))


def _is_calendar(name: str) -> bool:
    tokens = _tokens(name)
    named = any(token in CALENDAR for token in tokens) or any(pair in "_".join(tokens) for pair in CALENDAR_PAIRS)
    return named and all(token in CALENDAR | _BESIDE for token in tokens)


def _tokens(name: str) -> list[str]:
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    return [token for token in re.split(r"[^a-z]+", words) if token]


def check_static(name: str, coded: Coded, rows: LongRows) -> None:
    """Refuse a static covariate that changes within a series."""
    if not constant_within(coded.values, rows.offsets):
        raise DataInvalid(
            f"covariate {name!r} is declared static but changes within a series",
            field="covariates",
            allowed=["historical", "known_future"],
            next_step="give it another role",
        )


def correction_for(name: str, corrections: tuple[Correction, ...]) -> Correction:
    """What the caller said about a covariate, or a correction that says nothing."""
    return next((correction for correction in corrections if correction.name == name), Correction(name))


def _natural_type(column: Column) -> ValueType:
    if column.kind == "text":
        return "categorical"
    present = column.values[~np.isnan(column.values)]
    return "boolean" if np.all((present == 0) | (present == 1)) else "numeric"


def _misfit(name: str, kind: str, found: str) -> DataInvalid:
    return DataInvalid(
        f"covariate {name!r} {found}, which is not {kind}", field="covariates", next_step="correct its type"
    )


def constant_within(values: NDArray[np.float64], offsets: NDArray[np.int64]) -> bool:
    """Whether each series has one value at most; absent values do not count."""
    absent = np.isnan(values)
    low = np.minimum.reduceat(np.where(absent, np.inf, values), offsets[:-1])
    high = np.maximum.reduceat(np.where(absent, -np.inf, values), offsets[:-1])
    return bool(np.all(low >= high))

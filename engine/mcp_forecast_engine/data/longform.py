"""A table as long rows: one row per series and time, sorted, wide targets melted, texts coded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.clock_change import repeated_hours
from mcp_forecast_engine.data.columns import ColumnRoles, Layout
from mcp_forecast_engine.data.frame import TimeAxis
from mcp_forecast_engine.data.frequency import (
    DAY,
    Frequency,
    gaps_between,
    infer_frequency,
    parse_frequency,
    step_text,
)
from mcp_forecast_engine.data.one_step import other_steps
from mcp_forecast_engine.data.reading import Column, Table
from mcp_forecast_engine.data.revisions import newest_of, observed_times, seen_later
from mcp_forecast_engine.data.times import read_times
from mcp_forecast_engine.errors import DataInvalid

Floats = NDArray[np.float64]
# Share of rows with a time of their own within the series that a column names: a few may be corrections.
_ENOUGH = 0.98


@dataclass(frozen=True)
class LongRows:
    """Sorted rows before roles are known: as Frame, but covariates are uncoded columns in the order of the rows.

    unique_id: S names, sorted. offsets: int64 (S + 1). ds: int64 (N). y: float64 (N). covariates: name → Column (N).
    Rows of one series and time keep the order of the file, so that "last" can mean the later correction; with
    observed, int64 (N) seconds of UTC, they are revisions in the order in which they became known.
    """

    unique_id: tuple[str, ...]
    offsets: NDArray[np.int64]
    ds: NDArray[np.int64]
    y: Floats
    covariates: Mapping[str, Column]
    axis: TimeAxis
    notes: tuple[str, ...]
    zone: str | None = None
    time_format: str | None = None
    observed: NDArray[np.int64] | None = None

    @property
    def tail(self) -> NDArray[np.bool_]:
        """Rows after the last target of their series, bool (N)."""
        return rows_after_last(self.y, self.offsets)


def rows_after_last(y: Floats, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows come after the last finite value of their series, bool (N)."""
    index = np.where(np.isnan(y), -1, np.arange(len(y)))
    last = np.maximum.reduceat(index, offsets[:-1])
    return np.asarray(np.arange(len(y)) > np.repeat(last, np.diff(offsets)))


def long_rows(table: Table, layout: Layout, request: ColumnRoles) -> LongRows:
    """Sort a table into series; raises DataInvalid, FrequencyUnclear."""
    times = read_times(
        table.columns[layout.time],
        name=layout.time,
        time_format=request.time_format,
        time_zone=request.time_zone,
    )
    targets = layout.wide or (layout.target,)
    width = len(targets)
    y = np.stack([table.columns[name].values for name in targets])
    measured = np.any(np.isfinite(y), axis=0)
    seen = observed_times(table, layout, times, measured, time_format=request.time_format)
    # Revisions share their time, and differ in when they became known.
    marks = times.ds if seen is None else np.unique(np.stack([times.ds, seen]), axis=1, return_inverse=True)[1]
    codes, names = _series_codes(
        table, layout, request, marks.reshape(-1), dated=seen is None and times.kind != "integer"
    )
    # Wide targets: block w holds the rows of target w, so series w * groups + g.
    codes = (codes[None, :] + np.arange(width)[:, None] * len(names)).reshape(-1)
    if layout.wide:
        names = [f"{name}/{target}" if layout.series else target for target in targets for name in names]
    codes, unique_id = _sorted_names(codes, names)
    ds = np.tile(times.ds, width)
    order = np.lexsort((ds, codes) if seen is None else (np.tile(seen, width), ds, codes))
    row = order % table.rows
    observed = None if seen is None else seen[row]
    offsets = np.searchsorted(codes[order], np.arange(len(unique_id) + 1)).astype(np.int64)
    ds = ds[order]
    covariates = {name: _taken(table.columns[name], row) for name in layout.covariates}
    steps, parts = (ds, offsets) if observed is None else _without_revisions(ds, offsets)
    axis = _axis(steps, parts, times.kind, request.freq)
    mixed = other_steps(steps, parts, unique_id, axis, given=request.freq is not None)
    notes = (*layout.notes, *times.notes, *mixed, *repeated_hours(ds, offsets, axis, times.zone))
    y_sorted = _canonical(y.reshape(-1)[order])
    return LongRows(unique_id, offsets, ds, y_sorted, covariates, axis, notes, times.zone, times.form, observed)


def newest_rows(rows: LongRows) -> tuple[LongRows, NDArray[np.int64]]:
    """The rows as they stand now, one revision per series and time, and where they were; all, where none is revised."""
    if rows.observed is None:
        return rows, np.arange(len(rows.ds))
    kept = newest_of(rows.ds, rows.offsets, rows.observed)
    newest = replace(
        rows,
        offsets=np.searchsorted(kept, rows.offsets).astype(np.int64),
        ds=rows.ds[kept],
        y=rows.y[kept],
        covariates={name: _taken(column, kept) for name, column in rows.covariates.items()},
        observed=None,
    )
    return newest, kept


def _without_revisions(
    ds: NDArray[np.int64], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Times and offsets with each time of a series once: how often it was revised is no step."""
    first = np.ones(len(ds), bool)
    first[1:] = ds[1:] != ds[:-1]
    first[offsets[:-1]] = True
    return ds[first], np.concatenate([[0], np.cumsum(first)])[offsets].astype(np.int64)


def _taken(column: Column, row: NDArray[np.int64]) -> Column:
    values = column.values[row] if column.kind == "text" else _canonical(column.values[row])
    return Column(column.kind, values, words=column.words)


def _canonical(values: NDArray[np.float64]) -> Floats:
    """One bit pattern for every absent value and for zero, so that equal content has equal bytes."""
    values = np.asarray(values, np.float64) + 0.0
    values[np.isnan(values)] = np.nan
    return values


def _axis(ds: NDArray[np.int64], offsets: NDArray[np.int64], kind: str, freq: str | None) -> TimeAxis:
    calendar = kind == "calendar"
    step = parse_frequency(freq) if freq else infer_frequency(ds, offsets, calendar=calendar)
    if calendar == (step.unit == "steps"):
        counts = "dates" if calendar else "whole step numbers"
        allowed = "an offset alias such as 'h' or 'D'" if calendar else "a whole number such as '1'"
        raise DataInvalid(
            f"freq {step.alias!r} does not fit a time column of {counts}", field="freq", allowed=allowed,
            next_step="leave `freq` out, or name a step that fits the time column",
        )  # fmt: skip
    if freq:
        _refuse_misfit(ds, offsets, step)
    return TimeAxis("calendar" if calendar else "integer", step.alias)


def _refuse_misfit(ds: NDArray[np.int64], offsets: NDArray[np.int64], step: Frequency) -> None:
    """Refuse a given frequency that would merge most rows, or make most of them up: such a choice is made aloud."""
    gaps = gaps_between(ds, offsets)
    if not len(gaps):
        return
    usual, least = int(np.median(gaps)), step.count * {"months": 28 * DAY, "business": DAY}.get(step.unit, 1)
    apart = step_text(usual) if step.unit != "steps" else f"{usual} steps"
    if usual * 2 <= least:
        found, help_ = "closer than", "leave `freq` out, and aggregate with the preprocessing step resample"
    elif usual >= 3 * least and step.unit not in ("months", "business"):
        found, help_ = "farther than", "leave `freq` out, so that the step of the rows is taken"
    else:
        return
    raise DataInvalid(f"most rows are {apart} apart, {found} freq {step.alias!r}", field="freq", next_step=help_)


def _series_codes(
    table: Table, layout: Layout, request: ColumnRoles, ds: NDArray[np.int64], *, dated: bool
) -> tuple[NDArray[np.int64], list[str]]:
    """Series code of each row and the series' names. dated: ds are dates, which observed times can be held against."""
    if not layout.series:
        _refuse_hidden_series(table, layout, request, ds, dated=dated)
        return np.zeros(table.rows, np.int64), [layout.target]
    parts = [_labels(table.columns[name], name) for name in layout.series]
    codes = np.zeros(table.rows, np.int64)
    for part, words in parts:
        codes = codes * len(words) + part
    present, codes = np.unique(codes, return_inverse=True)
    names = [""] * len(present)
    for _, words in reversed(parts):
        present, own = np.divmod(present, len(words))
        names = [words[i] + ("/" + name if name else "") for i, name in zip(own.tolist(), names, strict=True)]
    return codes.reshape(-1), names


def _labels(column: Column, name: str) -> tuple[NDArray[np.int64], list[str]]:
    missing = np.flatnonzero(column.missing)
    if len(missing):
        found = f"series column {name!r} has no value in {len(missing)} rows, first row {missing[0]}"
        raise DataInvalid(found, field="series", next_step="complete or remove those rows")
    if column.kind == "text":
        return column.values.astype(np.int64), list(column.words)
    values, codes = np.unique(column.values, return_inverse=True)
    return codes.reshape(-1), [number_text(value) for value in values.tolist()]


def number_text(value: float) -> str:
    """A number as people write a name: 3.0 → "3", 2.5 → "2.5"."""
    return str(int(value)) if value == int(value) else repr(value)


def _sorted_names(codes: NDArray[np.int64], names: list[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    order = sorted(range(len(names)), key=names.__getitem__)
    ordered = tuple(names[i] for i in order)
    twice = next((a for a, b in pairwise(ordered) if a == b), None)
    if twice is not None:
        raise DataInvalid(f"two series would both be named {twice!r}", field="series", next_step="rename one of them")
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    return rank[codes], ordered


def _refuse_hidden_series(
    table: Table, layout: Layout, request: ColumnRoles, ds: NDArray[np.int64], *, dated: bool
) -> None:
    """Refuse rows that are several series under one name: most timestamps occur more than once."""
    distinct = len(np.unique(ds))
    if distinct > table.rows / 2 or table.rows < 4:
        return
    taken = {layout.time, layout.target, *request.drop}
    named = _telling_apart(table, taken, ds)
    measured = np.any([~table.columns[name].missing for name in layout.wide or (layout.target,)], axis=0)
    apart = f": {', '.join(map(repr, named))}" if named else ""
    if dated and (seen := seen_later(table, taken, ds, measured)) is not None:
        raise DataInvalid(
            f"{table.rows} rows share {distinct} timestamps: {seen!r} looks like the time when each row became known",
            field="observed", allowed=[seen],
            next_step=f"pass {seen!r} as `observed` if several rows of a time are revisions of it; if they are several "
            f"series, name the columns that tell these apart with `series`{apart}",
        )  # fmt: skip
    raise DataInvalid(
        f"{table.rows} rows share {distinct} timestamps: several series seem to be mixed",
        field="series",
        allowed=named or None,
        next_step="name the columns that tell the series apart with `series`"
        if named
        else "add a column that tells the series apart, or make one row of those that share a time (their sum or mean)",
    )


def _telling_apart(table: Table, taken: set[str], ds: NDArray[np.int64]) -> list[str]:
    """Columns that may name series, of few values first: those that alone leave a row per time, else all of them."""
    found: list[tuple[bool, int, str]] = []
    times = np.unique(ds, return_inverse=True)[1].reshape(-1)
    for name, column in table.columns.items():
        whole = column.kind == "text" or (column.kind == "number" and bool(np.all(np.mod(column.values, 1) == 0)))
        if name in taken or not whole or column.missing.any():
            continue
        codes = np.unique(column.values, return_inverse=True)[1].reshape(-1)
        values = int(codes.max()) + 1
        if 1 < values <= table.rows / 2:  # more of them name rows, not series
            pairs = len(np.unique(codes * (int(times.max()) + 1) + times))
            found.append((pairs < _ENOUGH * table.rows, values, name))
    alone = [one for one in sorted(found) if not one[0]]
    return [name for _, _, name in alone or sorted(found)]

"""Rows that say when they became known: several of one series and time are revisions, and the newest one counts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.columns import Layout
from mcp_forecast_engine.data.frequency import HOUR
from mcp_forecast_engine.data.reading import Table
from mcp_forecast_engine.data.times import Times, read_times
from mcp_forecast_engine.errors import DataInvalid

Integers = NDArray[np.int64]

# A wall clock without a zone is at most this far ahead of UTC.
AHEAD_OF_UTC: Final = 14 * HOUR


def newest_of(ds: Integers, offsets: Integers, observed: Integers, until: int | None = None) -> Integers:
    """Which rows stand: per series and time the newest one, ascending indices, int64.

    Rows are sorted by series, time and observed time; of equal observed times the later row counts. until: observed
    times after it do not count; None: all do. A series may be left without a row.
    """
    rows = np.arange(len(ds)) if until is None else np.flatnonzero(observed <= until)
    series = series_of(offsets)[rows]
    last = np.ones(len(rows), bool)
    last[:-1] = (series[1:] != series[:-1]) | (ds[rows][1:] != ds[rows][:-1])
    return np.asarray(rows[last], np.int64)


def series_of(offsets: Integers) -> Integers:
    """The series of each row, int64 (N)."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def observed_times(
    table: Table, layout: Layout, times: Times, measured: NDArray[np.bool_], *, time_format: str | None
) -> Integers | None:
    """When each row became known, seconds of UTC, int64 (N); None where no column says so.

    measured: bool (N), the row has a target. Times without a zone are taken as UTC. Raises DataInvalid for absent or
    unclear times, for a target that is observed before its time, and where an hour of the wall clock comes twice.
    """
    name = layout.observed
    if name is None:
        return None
    found = _read(table, name, time_format)
    if times.kind == "integer":  # steps have no date to compare with
        return found.ds
    about = times.ds
    if times.zone is not None:
        about = read_times(table.columns[layout.time], name=layout.time, time_format=time_format, time_zone="UTC").ds
        _refuse_repeated(about, times.ds, layout.time)
    # Both without a zone are of one clock; a zone on one side alone leaves open which clock the other one is.
    slack = AHEAD_OF_UTC if times.zone is None and found.zone is not None else 0
    early = np.flatnonzero(measured & (found.ds < about - slack))
    if len(early):
        raise _too_early(name, early, about, found.ds)
    return found.ds


def seen_later(table: Table, taken: Collection[str], ds: Integers, measured: NDArray[np.bool_]) -> str | None:
    """The column of dates that may say when each row became known: never before a target's time, and told anew for rows
    that share one. taken: columns that are something else. ds: seconds, int64 (N); measured: the row has a target."""
    for name in table.columns:
        if name in taken or table.columns[name].kind not in ("text", "time"):
            continue
        try:
            found = read_times(table.columns[name], name=name, time_format=None, time_zone="UTC")
        except DataInvalid:
            continue
        pairs = np.unique(np.stack([ds, found.ds]), axis=1).shape[1]
        late = bool(np.all((found.ds >= ds - AHEAD_OF_UTC)[measured]))
        if found.kind != "integer" and late and pairs > len(np.unique(ds)):
            return name
    return None


def _read(table: Table, name: str, time_format: str | None) -> Times:
    column = table.columns[name]
    try:
        found = read_times(column, name=name, time_format=None, time_zone="UTC")
    except DataInvalid as unclear:
        if time_format is None or column.missing.any():
            raise _unreadable(name, unclear) from unclear
        try:
            found = read_times(column, name=name, time_format=time_format, time_zone="UTC")
        except DataInvalid:
            raise _unreadable(name, unclear) from unclear
    if found.kind == "integer":
        raise DataInvalid(
            f"observed column {name!r} counts steps", field="observed", allowed="dates, in UTC or with their zone",
            next_step="name a column that says when the row became known",
        )  # fmt: skip
    return found


def _unreadable(name: str, why: DataInvalid) -> DataInvalid:
    found = why.message.partition(": ")[2] or why.message
    return DataInvalid(
        f"observed column {name!r}: {found}", field="observed", allowed=why.allowed,
        next_step="complete it in every row: a row that nobody observed cannot be trained on",
    )  # fmt: skip


def _refuse_repeated(instants: Integers, wall: Integers, time: str) -> None:
    """An hour that comes twice on the wall clock would be read as a revision of itself."""
    if len(np.unique(instants)) == len(np.unique(wall)):
        return
    raise DataInvalid(
        f"time column {time!r}: clocks were put back, so different hours share a time of the wall clock, and none can "
        "be told from a revision",
        field="time_zone", allowed=["UTC"], next_step="register data with observed times in UTC: time_zone 'UTC'",
    )  # fmt: skip


def _too_early(name: str, early: Integers, about: Integers, seen: Integers) -> DataInvalid:
    first = int(early[0])
    rows = ", ".join(str(row) for row in early[:5].tolist()) + (" …" if len(early) > 5 else "")
    return DataInvalid(
        f"{len(early)} rows have a target observed before its time: row {first} is about "
        f"{np.datetime64(int(about[first]), 's')}, observed at {np.datetime64(int(seen[first]), 's')} (rows {rows})",
        field="observed", allowed="at or after the time the row is about; earlier only in rows without a target",
        next_step=f"check that {name!r} says when the value became known, and that both columns are of one zone",
    )  # fmt: skip

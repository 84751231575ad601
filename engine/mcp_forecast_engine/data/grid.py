"""The regular grid of a frequency: which step a timestamp is, and which timestamp a step has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frequency import DAY, Frequency

Integers = NDArray[np.int64]


def first_stamp(ds: Integers, step: Frequency) -> Integers:
    """The grid stamp that a series starting at `ds` starts with: months on their first or last day, no weekend in B."""
    if step.unit == "months":
        return _month_stamp(_month(ds), ds % DAY, step)
    if step.unit == "business":
        return _business_day(ds) * DAY + ds % DAY
    return ds


def steps_since(start: Integers, ds: Integers, step: Frequency) -> Integers:
    """Whole steps from `start` (a grid stamp) to `ds`; stamps off the grid go to the nearest step.

    start, ds: int64 of shapes that broadcast. Months and business days go by the calendar, everything else by division.
    """
    if step.unit == "months":
        return np.asarray((_month(ds) - _month(start)) // step.count, np.int64)
    if step.unit == "business":
        first, last = _business_day(start), _business_day(ds)
        return np.busday_count(first.astype("datetime64[D]"), last.astype("datetime64[D]")).astype(np.int64)
    return np.asarray((ds - start + step.count // 2) // step.count, np.int64)


def stamp_at(start: Integers, index: Integers, step: Frequency) -> Integers:
    """The timestamp `index` steps after `start` (a grid stamp); shapes broadcast."""
    if step.unit == "months":
        return _month_stamp(_month(start) + index * step.count, start % DAY, step)
    if step.unit == "business":
        days = np.busday_offset(_business_day(start).astype("datetime64[D]"), index, roll="forward")
        return np.asarray(days.astype(np.int64) * DAY + start % DAY, np.int64)
    return np.asarray(start + index * step.count, np.int64)


def next_stamps(last: Integers, count: int, step: Frequency) -> Integers:
    """The next `count` timestamps after each of S grid stamps, int64 (S, count)."""
    return stamp_at(np.asarray(last, np.int64)[:, None], np.arange(1, count + 1)[None, :], step)


def _month(ds: Integers) -> Integers:
    return np.asarray(ds, np.int64).astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)


def _month_stamp(month: Integers, time_of_day: Integers, step: Frequency) -> Integers:
    first = (month + step.at_end).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return np.asarray((first - step.at_end) * DAY + time_of_day, np.int64)


def _business_day(ds: Integers) -> Integers:
    """The day number of `ds`, or of the Monday after it: a weekend's value is known by then, never earlier."""
    days = (np.asarray(ds, np.int64) // DAY).astype("datetime64[D]")
    return np.busday_offset(days, 0, roll="forward").astype(np.int64)

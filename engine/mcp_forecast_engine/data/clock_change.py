"""Times without a zone that come twice in a night in which clocks are put back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import TimeAxis
from mcp_forecast_engine.data.frequency import DAY, HOUR

Integers = NDArray[np.int64]

# Sundays on which clocks are put back, by month and days of the month: Europe; North America; Australia, New Zealand.
_NIGHTS = ((10, 25, 31), (11, 1, 7), (4, 1, 7))
_SUNDAY = 3  # 1970-01-01 was a Thursday
_UNTIL = 4 * HOUR


def repeated_hours(ds: Integers, offsets: Integers, axis: TimeAxis, zone: str | None) -> tuple[str, ...]:
    """A warning where times of such a night stand twice in a series; ds: int64 (N), ascending within series.

    Two hours of the night were written alike then, and joining them loses one; with offsets they can be told apart.
    """
    if axis.kind != "calendar" or zone is not None:
        return ()
    again = np.flatnonzero(ds[1:] == ds[:-1]) + 1
    again = again[~np.isin(again, offsets)]  # the first row of a series follows another one
    twice = np.unique(ds[again])
    nights = twice[_put_back(twice)]
    if not len(nights):
        return ()
    first = str(np.datetime64(int(nights[0]), "s"))
    return (
        f"{len(nights)} times come twice in a night in which clocks are put back, the first is {first}: if these are "
        "local times, two hours share one name and merge_duplicates joins them. To keep them apart, give the times "
        "their offset, such as +02:00, and name `time_zone`",
    )


def _put_back(ds: Integers) -> NDArray[np.bool_]:
    days = ds // DAY
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    month = months.astype(np.int64) % 12 + 1
    day = (dates - months.astype("datetime64[D]")).astype(np.int64) + 1
    named = np.zeros(len(ds), bool)
    for number, low, high in _NIGHTS:
        named |= (month == number) & (day >= low) & (day <= high)
    clock = ds - days * DAY
    # A midnight alone may be a day without a clock.
    return np.asarray(named & (days % 7 == _SUNDAY) & (clock > 0) & (clock < _UNTIL), np.bool_)

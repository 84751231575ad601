"""What the calendar says about a timestamp: features known for every future step, the same in training and serving."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import TimeAxis
from mcp_forecast_engine.data.frequency import DAY, HOUR, MONTHS, WEEKDAYS, Frequency, parse_frequency

Features = tuple[tuple[str, ...], NDArray[np.float64]]

YEAR_DAYS = 365.2425
_HOURS = tuple(f"hour_{hour:02d}" for hour in range(24))


def calendar_features(ds: NDArray[np.int64], axis: TimeAxis) -> Features:
    """Describe timestamps by hour, weekday, month and season of the year, as far as the frequency can tell them apart.

    ds: int64 (N), seconds since 1970-01-01 of the local wall clock (any shape is flattened). Returns K names and
    float64 (N, K). K depends on `axis` alone, never on `ds`, so a model sees the same columns at every call:
    below an hour 24 hours + 4 Fourier pairs of the day + 7 weekdays + 2 pairs of the year; below a day 24 + 7 + 2;
    days 7 weekdays + 3 pairs; business days 5 + 3 pairs; weeks 4 pairs; months 12; quarters 4; years and steps none.
    """
    flat = np.ascontiguousarray(ds, dtype=np.int64).reshape(-1)
    if axis.kind == "integer":
        return (), np.zeros((len(flat), 0))
    blocks = _blocks(flat, parse_frequency(axis.freq))
    names = tuple(name for block, _ in blocks for name in block)
    values = [block for _, block in blocks]
    return names, np.concatenate(values, axis=1) if values else np.zeros((len(flat), 0))


def _blocks(ds: NDArray[np.int64], step: Frequency) -> list[Features]:
    if step.unit == "months":
        return _month_blocks(ds, step)
    if step.unit == "business":
        return [_weekday(ds, 5), _year(ds, 3)]
    if step.count >= 7 * DAY:
        return [_year(ds, 4)]
    if step.count >= DAY:
        return [_weekday(ds, 7), _year(ds, 3)]
    below_hour = [_day(ds, 4)] if step.count < HOUR else []
    return [_hour(ds), *below_hour, _weekday(ds, 7), _year(ds, 2)]


def _month_blocks(ds: NDArray[np.int64], step: Frequency) -> list[Features]:
    """One-hot months; quarters where a step is a quarter, halves where it is six months, nothing from a year up."""
    if step.count >= 12 or 12 % step.count:
        return []
    month = ds.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) % 12
    if step.count == 1:
        return [_one_hot(month, tuple(f"month_{name.lower()}" for name in MONTHS))]
    return [_one_hot(month // step.count, tuple(f"part_{i + 1}" for i in range(12 // step.count)))]


def _hour(ds: NDArray[np.int64]) -> Features:
    return _one_hot(ds % DAY // HOUR, _HOURS)


def _weekday(ds: NDArray[np.int64], days: int) -> Features:
    # 1970-01-01 was a Thursday. A business-day axis has no weekend: its stamps never reach column 5.
    weekday = np.minimum((ds // DAY + 3) % 7, days - 1)
    return _one_hot(weekday, tuple(f"weekday_{name.lower()}" for name in WEEKDAYS[:days]))


def _day(ds: NDArray[np.int64], pairs: int) -> Features:
    return _fourier(ds % DAY / DAY, "day", pairs)


def _year(ds: NDArray[np.int64], pairs: int) -> Features:
    # The mean Gregorian year: no jump at New Year, and 1 March stays in place to within a day.
    return _fourier(ds / DAY / YEAR_DAYS, "year", pairs)


def _fourier(turns: NDArray[np.float64], name: str, pairs: int) -> Features:
    angle = 2 * np.pi * np.mod(turns, 1.0)[:, None] * np.arange(1, pairs + 1)
    names = tuple(f"{name}_{wave}{k}" for k in range(1, pairs + 1) for wave in ("sin", "cos"))
    return names, np.stack([np.sin(angle), np.cos(angle)], axis=2).reshape(len(turns), 2 * pairs)


def _one_hot(codes: NDArray[np.int64], names: tuple[str, ...]) -> Features:
    return names, (codes[:, None] == np.arange(len(names))).astype(np.float64)

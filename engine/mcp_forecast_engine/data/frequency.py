"""How far apart the steps of a time axis are: offset aliases, their usual season, and how to find one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.errors import DataInvalid, FrequencyUnclear

DAY, HOUR, MINUTE = 86_400, 3_600, 60
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
ALIASES = "s, min, h, D, B, W-MON..W-SUN, MS, ME, QS, QE, YS, YE, with a count in front if not one (15min); 1 for steps"

Unit = Literal["seconds", "business", "months", "steps"]


@dataclass(frozen=True)
class Frequency:
    """One step of a time axis.

    alias: canonical offset alias. unit, count: a step is `count` seconds, business days, months or integer steps.
    at_end: month frequencies only, stamps lie on the last day of the month. phase: weekday (0 = Monday) of weekly
    stamps, or first month (0 = January) modulo `count` of month stamps; 0 elsewhere.
    """

    alias: str
    unit: Unit
    count: int
    at_end: bool = False
    phase: int = 0


@lru_cache(maxsize=256)  # asked several times for every forecast
def parse_frequency(alias: str) -> Frequency:
    """Read an offset alias such as "15min", "h", "D", "B", "W-FRI", "MS", "QS" or "1"; raises DataInvalid."""
    text = _WORDS.get(alias.strip().lower(), alias.strip())
    if text.isdigit() and int(text) > 0:
        return Frequency(alias=str(int(text)), unit="steps", count=int(text))
    match = re.fullmatch(r"(\d*)([A-Za-z]+)(?:-([A-Za-z]{3}))?", text)
    unit = _UNITS.get(match[2]) if match else None
    if match is None or unit is None or match[1].startswith("0"):
        raise _unknown(alias)
    count, anchor = int(match[1] or 1), (match[3] or "").upper()
    if unit in _SECONDS and not anchor:
        return fixed_frequency(count * _SECONDS[unit])
    if unit == "W" and (not anchor or anchor in WEEKDAYS):
        return weekly_frequency(weekday=WEEKDAYS.index(anchor or "SUN"), count=count)
    if unit == "B" and count == 1 and not anchor:
        return Frequency(alias="B", unit="business", count=1)
    if unit in _MONTHS and (not anchor or (anchor in MONTHS and unit[0] != "M")):
        default = "DEC" if unit[1] == "E" else "JAN"
        months = count * _MONTHS[unit]
        return monthly_frequency(months=months, at_end=unit[1] == "E", phase=MONTHS.index(anchor or default))
    raise _unknown(alias)


def fixed_frequency(seconds: int) -> Frequency:
    """The frequency of a fixed number of seconds, named by its largest unit up to the day."""
    for name, size in (("D", DAY), ("h", HOUR), ("min", MINUTE), ("s", 1)):
        if seconds % size == 0:
            return Frequency(alias=_counted(seconds // size, name), unit="seconds", count=seconds)
    raise AssertionError("every integer is a number of seconds")


def weekly_frequency(*, weekday: int, count: int = 1) -> Frequency:
    """Weeks whose stamp lies on one weekday (0 = Monday)."""
    alias = f"{_counted(count, 'W')}-{WEEKDAYS[weekday]}"
    return Frequency(alias=alias, unit="seconds", count=count * 7 * DAY, phase=weekday)


def monthly_frequency(*, months: int, at_end: bool, phase: int) -> Frequency:
    """Calendar months, quarters or years, stamped on the first or the last day of the month."""
    name, size = next((name, size) for name, size in (("Y", 12), ("Q", 3), ("M", 1)) if months % size == 0)
    usual, own = (size - 1 if at_end else 0), phase % size
    anchor = "" if own == usual else f"-{MONTHS[own]}"
    alias = _counted(months // size, name + ("E" if at_end else "S")) + anchor
    return Frequency(alias=alias, unit="months", count=months, at_end=at_end, phase=phase % months)


def season_length(freq: str) -> int:
    """Steps per season, m, that people use for a frequency: h 24, 15min 96, D 7, B 5, W 52, M 12, Q 4, Y and 1: 1."""
    step = parse_frequency(freq)
    if step.unit == "steps":
        return 1
    if step.unit == "business":
        return 5
    cycle = 12 if step.unit == "months" else _cycle(step.count)
    whole = cycle % step.count == 0 or (step.unit == "seconds" and step.count >= 7 * DAY)
    # Ten hours or two days share no whole season with the day or the week.
    return max(1, cycle // step.count) if whole else 1


def infer_frequency(ds: NDArray[np.int64], offsets: NDArray[np.int64], *, calendar: bool) -> Frequency:
    """Find the step of sorted series in spite of gaps, duplicates and a few stray rows.

    ds: int64 (N), seconds or integer steps, ascending within each series offsets[i]:offsets[i + 1].
    Raises FrequencyUnclear, which names the most common steps found.
    """
    gaps = gaps_between(ds, offsets)
    if not calendar:
        return parse_frequency(str(_common_step(gaps) if len(gaps) else 1))
    if not len(gaps):
        raise _unclear("no series has two different timestamps")
    monthly = _monthly(ds, offsets) if gaps.min() >= 28 * DAY else None
    if monthly is not None:
        return monthly
    step = _common_step(gaps)
    weekdays = (ds // DAY + 3) % 7
    if step == 7 * DAY:
        return weekly_frequency(weekday=int(np.bincount(weekdays, minlength=7).argmax()))
    if step == DAY and weekdays.max() < 5 and np.any(gaps == 3 * DAY):
        return Frequency(alias="B", unit="business", count=1)
    return fixed_frequency(step)


_SECONDS = {"s": 1, "min": MINUTE, "h": HOUR, "D": DAY}
_MONTHS = {"MS": 1, "ME": 1, "QS": 3, "QE": 3, "YS": 12, "YE": 12}
_UNITS = {name: name for name in (*_SECONDS, *_MONTHS, "W", "B")} | {
    # The names of older pandas, which people still type.
    "S": "s", "T": "min", "H": "h", "d": "D", "w": "W", "b": "B",
    "M": "ME", "Q": "QE", "A": "YE", "Y": "YE", "AS": "YS",
}  # fmt: skip
_WORDS = {
    "minutely": "min", "hourly": "h", "daily": "D", "weekly": "W", "monthly": "MS", "quarterly": "QS",
    "yearly": "YS", "annual": "YS", "annually": "YS", "business": "B", "integer": "1",
}  # fmt: skip


def _counted(count: int, name: str) -> str:
    return name if count == 1 else f"{count}{name}"


def _cycle(seconds: int) -> int:
    if seconds < MINUTE:
        return HOUR
    if seconds < DAY:
        return DAY
    return 7 * DAY if seconds < 7 * DAY else 364 * DAY


def _unknown(alias: str) -> DataInvalid:
    return DataInvalid(f"frequency {alias!r} is not known", field="freq", allowed=ALIASES, next_step="name one of them")


def _unclear(found: str) -> FrequencyUnclear:
    return FrequencyUnclear(
        f"the time column has no regular step: {found}",
        field="freq",
        allowed=ALIASES,
        next_step="name the step with `freq`, or clean the time column",
    )


def gaps_between(ds: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positive differences between neighbours of one series."""
    gaps = np.diff(ds)
    inside = np.ones(len(gaps), bool)
    borders = offsets[1:-1] - 1
    inside[borders[(borders >= 0) & (borders < len(gaps))]] = False
    return gaps[inside & (gaps > 0)]


def _common_step(gaps: NDArray[np.int64]) -> int:
    """The longest of the common steps that nearly all other steps are a multiple of."""
    steps, counts = np.unique(gaps, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:5]
    fits = [
        int(steps[i])
        for i in most
        if counts[i] >= 0.1 * len(gaps) and counts[steps % steps[i] == 0].sum() >= 0.95 * len(gaps)
    ]
    if not fits:
        shares = ", ".join(f"{step_text(int(steps[i]))} ({counts[i] / len(gaps):.0%})" for i in most[:3])
        raise _unclear(f"the most common steps are {shares}")
    return max(fits)


def step_text(seconds: int) -> str:
    """A number of seconds in words: 90 → "90 s", 7200 → "2 h"."""
    for name, size in (("d", DAY), ("h", HOUR), ("min", MINUTE)):
        if seconds % size == 0:
            return f"{seconds // size} {name}"
    return f"{seconds} s"


def _monthly(ds: NDArray[np.int64], offsets: NDArray[np.int64]) -> Frequency | None:
    """Months, quarters or years, if every stamp lies on one day of the month or on its last day."""
    days = ds // DAY
    months = days.astype("datetime64[D]").astype("datetime64[M]")
    day = days - months.astype("datetime64[D]").astype(np.int64)
    last = (months + 1).astype("datetime64[D]").astype(np.int64) - 1
    at_end = bool(np.all(days == last))
    if not at_end and np.any(day != day[0]):
        return None
    index = months.astype(np.int64)
    step = _common_step(gaps_between(index, offsets))
    return monthly_frequency(months=step, at_end=at_end, phase=int(index[0] % 12))

"""Timestamps from whatever a file holds: ISO 8601, national dates, quarters, years, step numbers, Unix seconds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frequency import DAY, HOUR, MINUTE
from mcp_forecast_engine.data.reading import NO_TIME, Column
from mcp_forecast_engine.data.zones import unclear_zone
from mcp_forecast_engine.errors import DataInvalid

_CLOCK = r"(?:[T ]+(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,]\d+)?)?)?"
_ZONE = r" ?(?P<z>Z|UTC|[+-]\d{2}(?::?\d{2})?)?"
# Named formats, tried in this order; each but the first four means what it says without a clock too.
FORMATS: dict[str, re.Pattern[str]] = {
    "YYYY-MM-DD": re.compile(r"(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})" + _CLOCK + _ZONE),
    "YYYY/MM/DD": re.compile(r"(?P<y>\d{4})/(?P<m>\d{1,2})/(?P<d>\d{1,2})" + _CLOCK + _ZONE),
    "DD.MM.YYYY": re.compile(r"(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})" + _CLOCK + _ZONE),
    "MM/DD/YYYY": re.compile(r"(?P<m>\d{1,2})[/-](?P<d>\d{1,2})[/-](?P<y>\d{4})" + _CLOCK + _ZONE),
    "DD/MM/YYYY": re.compile(r"(?P<d>\d{1,2})[/-](?P<m>\d{1,2})[/-](?P<y>\d{4})" + _CLOCK + _ZONE),
    "YYYY-MM": re.compile(r"(?P<y>\d{4})[-/](?P<m>\d{1,2})"),
    "YYYYQn": re.compile(r"(?P<y>\d{4})[ -]?[Qq](?P<q>[1-4])"),
    "YYYYMMDD": re.compile(r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})"),
    "YYYY": re.compile(r"(?P<y>\d{4})"),
}
_EITHER_ORDER = ("MM/DD/YYYY", "DD/MM/YYYY")
NUMBER_FORMATS = ("YYYY", "YYYYMMDD", "unix", "step")
YEARS = (1800, 2200)
CONVERTED = "zoned times were converted to the wall clock of "


@dataclass(frozen=True)
class Times:
    """Parsed timestamps: int64 (N) wall-clock seconds or steps, what they count, and notes on conversions.

    zone: whose wall clock it is, where the times had zones; None where they had none. form: the format that was given,
    or the one of the two with day and month in either order that the texts were found to be of; None for any other.
    """

    ds: NDArray[np.int64]
    kind: Literal["calendar", "integer"]
    notes: tuple[str, ...] = ()
    zone: str | None = None
    form: str | None = None


def looks_like_time(column: Column) -> bool:
    """Whether a column's values can only be dates: native times, or texts of one known date format."""
    if column.kind == "time":
        return True
    words = column.words[:: max(1, len(column.words) // 20)]
    dated = [form for name, form in FORMATS.items() if name not in ("YYYY", "YYYYMMDD")]
    return bool(words) and any(all(form.fullmatch(word.strip()) for word in words) for form in dated)


def read_times(column: Column, *, name: str, time_format: str | None, time_zone: str | None) -> Times:
    """Turn a column into timestamps; raises DataInvalid for absent, mixed, ambiguous or impossible times.

    Zoned times become the wall clock of `time_zone`, else of the column's own named zone, else of UTC.
    """
    missing = np.flatnonzero(column.missing)
    if len(missing):
        raise _invalid(name, f"{len(missing)} rows have no time, first row {missing[0]}", "remove or complete them")
    if column.kind == "boolean":
        raise _invalid(name, "its values are true and false", "name the time column with `time`", field="time")
    if column.kind == "number":
        return replace(_from_numbers(column.values, name, time_format, time_zone), form=_kept(time_format))
    if column.kind == "time":
        return _on_wall_clock(column.values, column.zone, name, time_zone)
    form, zoned, seconds = _from_texts(column.words, name, time_format, time_zone)
    return replace(_on_wall_clock(seconds[column.values], "UTC" if zoned else None, name, time_zone), form=_kept(form))


def _kept(form: str | None) -> str | None:
    """A format that the same times alone may not show again, when fewer of them come later."""
    plain = form in FORMATS and form not in (*_EITHER_ORDER, *NUMBER_FORMATS)
    return None if plain else form


def _invalid(name: str, found: str, next_step: str, *, field: str = "time_format") -> DataInvalid:
    allowed = [*FORMATS, "unix", "step", "%d.%m.%y %H:%M"]
    return DataInvalid(f"time column {name!r}: {found}", field=field, allowed=allowed, next_step=next_step)


def _from_numbers(values: NDArray[np.float64], name: str, time_format: str | None, time_zone: str | None) -> Times:
    if np.any(values != np.floor(values)):
        raise _invalid(name, "its numbers have fractions", "send dates, whole step numbers or Unix seconds")
    numbers = values.astype(np.int64)
    form = time_format or _number_format(numbers)
    if form not in NUMBER_FORMATS:
        raise _invalid(name, f"its values are whole numbers, not texts like {form!r}", f"use one of {NUMBER_FORMATS}")
    if form == "step":
        return Times(numbers, "integer")
    if form == "unix":
        scale = 1_000 if np.abs(numbers).max() > 10**11 else 1
        return _on_wall_clock(numbers // scale, "UTC", name, time_zone)
    note = f"time column {name!r}: whole numbers read as {form}; name time_format='step' if they count steps"
    words = [str(number) for number in numbers.tolist()]
    return Times(_matched(words, form, name)[1], "calendar", () if time_format else (note,))


def _number_format(numbers: NDArray[np.int64]) -> str:
    low, high = int(numbers.min()), int(numbers.max())
    if low >= YEARS[0] and high <= YEARS[1]:
        return "YYYY"
    days = numbers % 100
    if low >= 19_000_101 and high <= 21_001_231 and days.min() >= 1 and days.max() <= 31:
        return "YYYYMMDD"
    # 1973 on: smaller numbers are far likelier to be steps.
    return "unix" if low >= 10**8 else "step"


def _from_texts(
    words: Sequence[str], name: str, time_format: str | None, time_zone: str | None
) -> tuple[str, bool, NDArray[np.int64]]:
    """The format of the texts, whether they carry a zone (then they count UTC), and seconds of each distinct one."""
    texts = [word.strip() for word in words]
    if time_format is not None and "%" in time_format:
        return time_format, False, _by_pattern(texts, time_format, name)
    form = time_format or _text_format(texts, name)
    if form not in FORMATS:
        raise _invalid(name, f"time_format {form!r} is not known", "use a named format or a strptime pattern")
    if form == "YYYY-MM-DD" and (quick := _quick_iso(texts)) is not None:
        return form, False, quick
    zones, seconds = _matched(texts, form, name)
    if "" in zones and len(zones) > 1:
        raise _invalid(name, "some times have a zone and some have none", "give all or none a zone", field="time")
    if len(zones) > 1 and time_zone is None:
        found = ", ".join(sorted(zones))
        raise unclear_zone(name, f"mixes the zones {found}, as the times of one place do in summer and winter")
    return form, "" not in zones, seconds


def _text_format(texts: Sequence[str], name: str) -> str:
    """The one format of all texts; day and month are told apart by any number above 12."""
    fits = [form for form, pattern in FORMATS.items() if pattern.fullmatch(texts[0])]
    if not fits:
        raise _invalid(name, f"{texts[0]!r} is no known date", "name the time column with `time`, or its `time_format`")
    if fits != [*_EITHER_ORDER]:
        return fits[0]
    pairs = [re.split(r"[/-]", text, maxsplit=2)[:2] for text in texts]
    first = max(int(a) for a, _ in pairs if a.isdigit())
    second = max((int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()), default=0)
    if first <= 12 and second <= 12:
        raise _invalid(
            name, f"{texts[0]!r} can be day/month or month/day", "name `time_format`: 'DD/MM/YYYY' or 'MM/DD/YYYY'"
        )
    return "DD/MM/YYYY" if first > 12 else "MM/DD/YYYY"


def _quick_iso(texts: Sequence[str]) -> NDArray[np.int64] | None:
    """ISO texts of one length without a zone, by numpy's own parser; None when they are anything else."""
    if len({len(text) for text in texts}) != 1 or len(texts[0]) not in (10, 16, 19):
        return None
    try:
        seconds = np.array(texts).astype("datetime64[s]").astype(np.int64)
    except ValueError:
        return None
    return None if np.any(seconds == NO_TIME) else seconds


def _by_pattern(texts: Sequence[str], pattern: str, name: str) -> NDArray[np.int64]:
    epoch = datetime(1970, 1, 1)
    try:
        gaps = [datetime.strptime(text, pattern).replace(tzinfo=None) - epoch for text in texts]
    except ValueError as refusal:
        raise _invalid(name, str(refusal), "correct `time_format`") from refusal
    return np.array([gap.days * DAY + gap.seconds for gap in gaps], np.int64)


def _matched(texts: Sequence[str], form: str, name: str) -> tuple[set[str], NDArray[np.int64]]:
    """The zones written in texts of one format, and their UTC seconds (wall-clock seconds where no zone is written)."""
    pattern = FORMATS[form]
    parts: list[tuple[int, ...]] = []
    zones: set[str] = set()
    for text in texts:
        match = pattern.fullmatch(text)
        if match is None:
            raise _invalid(name, f"{text!r} is not of the format {form} of the other rows", "use one format")
        found = match.groupdict()
        zone = found.get("z") or ""
        zones.add("UTC" if zone == "Z" else zone)
        month = int(found["q"]) * 3 - 2 if "q" in found else int(found.get("m") or 1)
        clock = (int(found.get(key) or 0) for key in "HMS")
        parts.append((int(found["y"]), month, int(found.get("d") or 1), *clock, _offset(zone)))
    return zones, _seconds(np.array(parts, np.int64), texts, name)


def _offset(zone: str) -> int:
    if zone in ("", "Z", "UTC"):
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return (int(digits[:2]) * HOUR + int(digits[2:]) * MINUTE) * (-1 if zone[0] == "-" else 1)


def _seconds(parts: NDArray[np.int64], texts: Sequence[str], name: str) -> NDArray[np.int64]:
    year, month, day, hour, minute, second, offset = parts.T
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    length = (months + 1).astype("datetime64[D]").astype(np.int64) - first
    sound = (month >= 1) & (month <= 12) & (day >= 1) & (day <= length) & (hour < 24)
    sound &= (minute < 60) & (second < 60)
    if not sound.all():
        raise _invalid(
            name, f"{texts[int(np.argmin(sound))]!r} is no possible date", "correct it, or name `time_format`"
        )
    days = first + day - 1
    return np.asarray(days * DAY + hour * HOUR + minute * MINUTE + second - offset, np.int64)


def _on_wall_clock(seconds: NDArray[np.int64], zone: str | None, name: str, time_zone: str | None) -> Times:
    """Zoned seconds as the wall clock of one zone; seconds without a zone stay as they are."""
    if zone is None:
        return Times(seconds, "calendar")
    target = time_zone or zone
    note = f"time column {name!r}: {CONVERTED}{target}"
    if target == "UTC":
        return Times(seconds, "calendar", (note,), target)
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        local = pc.local_timestamp(pa.array(seconds, pa.int64()).cast(pa.timestamp("s", tz=target)))
    except pa.ArrowInvalid as refusal:
        raise unclear_zone(name, f"zone {target!r} is not known", target) from refusal
    wall = np.ascontiguousarray(local.cast(pa.int64()).to_numpy())
    return Times(wall, "calendar", (note, *_changed_clocks(seconds, wall, name)), target)


def _changed_clocks(seconds: NDArray[np.int64], wall: NDArray[np.int64], name: str) -> tuple[str, ...]:
    """What a reader has to know where clocks were put back within the data: an hour of the wall clock comes twice."""
    repeated = len(np.unique(seconds)) - len(np.unique(wall))
    if not repeated:
        return ()
    return (
        f"time column {name!r}: {repeated} times of the wall clock come twice, because clocks were put back; "
        "merge_duplicates joins them (mean, unless told otherwise), and the hours skipped in spring are gaps",
    )

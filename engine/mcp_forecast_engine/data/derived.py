"""Public holidays as known-future covariates: computed from the time stamps alone, so nobody has to supply them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel, Role, TimeAxis
from mcp_forecast_engine.data.frequency import DAY, Frequency, parse_frequency
from mcp_forecast_engine.data.grid import next_stamps, stamp_at
from mcp_forecast_engine.errors import DataInvalid

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_HOLIDAY = "holiday_"


@dataclass(frozen=True)
class HolidayCalendar:
    """The public holidays of a country, or of a part of it. country: ISO 3166 code; subdivision: "" for none."""

    country: str
    subdivision: str = ""

    @property
    def code(self) -> str:
        """As the caller writes it: "US", "US-CA"."""
        return f"{self.country}-{self.subdivision}" if self.subdivision else self.country

    @property
    def column(self) -> str:
        """The name of its column: holiday_US_CA."""
        return _HOLIDAY + re.sub(r"\W+", "_", self.code)


def is_holiday(column: str) -> bool:
    """Whether a column has the name of one that a calendar gives."""
    return column.startswith(_HOLIDAY)


def holiday_calendar(code: str) -> HolidayCalendar:
    """The calendar that a code names; raises DataInvalid with the codes that exist."""
    import holidays

    country, _, part = code.partition("-")
    known = holidays.list_supported_countries(include_aliases=True)
    if country not in known:
        raise DataInvalid(
            f"no calendar of public holidays has the code {code!r}", field="holidays",
            allowed=sorted(name for name in known if len(name) == 2),
            next_step='use a country code such as "US", or with a subdivision "US-CA"; or leave `holidays` out',
        )  # fmt: skip
    found = holidays.country_holidays(country)
    parts = list(found.subdivisions)
    if part and part not in parts:
        raise DataInvalid(
            f"the holidays of {country} have no subdivision {part!r}", field="holidays",
            allowed=[found.country, *(f"{found.country}-{name}" for name in parts)],
            next_step="use one of them, or the country alone",
        )  # fmt: skip
    return HolidayCalendar(found.country, part)


def library_release() -> str:
    """The release of the library that knows the holidays; another one may know others."""
    from holidays.version import __version__

    return str(__version__)


def require_days(freq: str) -> None:
    """Refuse holidays where steps have no date."""
    if parse_frequency(freq).unit == "steps":
        raise DataInvalid(
            "the time column counts steps, which have no holidays", field="holidays", allowed="data with dates",
            next_step="leave `holidays` out, or register the data with dates",
        )  # fmt: skip


def holiday_names(calendar: HolidayCalendar, freq: str) -> tuple[str, ...]:
    """The columns that a calendar gives at a frequency: a flag of the day, the day before and after; or a number."""
    name = calendar.column
    return (name, f"{name}_before", f"{name}_after") if _within_days(parse_frequency(freq)) else (f"{name}_days",)


def require_free(taken: Collection[str], names: Sequence[str]) -> None:
    """Refuse a calendar whose columns the data has already."""
    own = [name for name in names if name in taken]
    if own:
        raise DataInvalid(
            f"the data has a column {own[0]!r} of its own", field="holidays",
            next_step="leave `holidays` out, or register the data without that column",
        )  # fmt: skip


def holiday_columns(ds: Integers, axis: TimeAxis, calendar: HolidayCalendar) -> dict[str, Floats]:
    """What the calendar says about time stamps of any shape.

    Steps of a day or finer: 1 on a holiday, on the day before one, on the day after one, else 0. Longer steps: how many
    holidays lie in the step, which ends with its stamp for weeks and month ends, and begins with it otherwise.
    """
    step = parse_frequency(axis.freq)
    names = holiday_names(calendar, axis.freq)
    first, last = _days_of(ds, step)
    days = _holidays(calendar, int(first.min()) - 1, int(last.max()) + 1)
    if len(names) > 1:
        return {name: np.isin(first + move, days).astype(np.float64) for name, move in zip(names, (0, 1, -1))}  # noqa: B905
    count = np.searchsorted(days, last, side="right") - np.searchsorted(days, first, side="left")
    return {names[0]: count.astype(np.float64)}


def with_holidays(panel: Panel, settings: Mapping[str, Any]) -> Panel:
    """The panel with the columns of a calendar, in its history and over the horizon.

    settings: calendar (its code) and horizon (steps). Raises DataInvalid where the data has a column of that name, or
    its steps have no date.
    """
    require_days(panel.axis.freq)
    calendar, horizon = holiday_calendar(settings["calendar"]), int(settings["horizon"])
    names = holiday_names(calendar, panel.axis.freq)
    require_free(panel.covariates, names)
    ahead = next_stamps(panel.ds[panel.offsets[1:] - 1], horizon, parse_frequency(panel.axis.freq))
    roles: dict[str, Role] = dict.fromkeys(names, "known_future")
    return replace(
        panel,
        covariates={**panel.covariates, **holiday_columns(panel.ds, panel.axis, calendar)},
        roles={**panel.roles, **roles},
        future={**panel.future, **holiday_columns(ahead, panel.axis, calendar)},
    )


def derived_names(plan: Mapping[str, Any], freq: str) -> tuple[str, ...]:
    """The columns that a plan derives from the time stamps, which nobody has to send."""
    settings = plan.get("holidays")
    return () if settings is None else holiday_names(holiday_calendar(settings["calendar"]), freq)


def _within_days(step: Frequency) -> bool:
    return step.unit == "business" or (step.unit == "seconds" and step.count <= DAY)


def _days_of(ds: Integers, step: Frequency) -> tuple[Integers, Integers]:
    """First and last day of each step, as days since 1970-01-01."""
    day = ds // DAY
    if _within_days(step):
        return day, day
    if step.alias.rpartition("W-")[1] or step.at_end:
        return stamp_at(ds, np.full(1, -1), step) // DAY + 1, day
    return day, stamp_at(ds, np.full(1, 1), step) // DAY - 1


def _holidays(calendar: HolidayCalendar, first: int, last: int) -> Integers:
    """The holidays between two days, sorted days since 1970-01-01."""
    import holidays

    start, end = (int(day.astype("datetime64[Y]").astype(np.int64)) + 1970 for day in np.array([first, last], "M8[D]"))
    found = holidays.country_holidays(
        calendar.country, subdiv=calendar.subdivision or None, years=range(start, end + 1)
    )
    days = np.array(sorted(found), dtype="datetime64[D]").astype(np.int64)
    return days[(days >= first) & (days <= last)]

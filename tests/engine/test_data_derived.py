"""Public holidays are columns that nobody sends: the same from the time stamps of history and of the future."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import panel_of

from mcp_forecast_engine.data.derived import (
    HolidayCalendar,
    holiday_calendar,
    holiday_columns,
    holiday_names,
    with_holidays,
)
from mcp_forecast_engine.data.frame import TimeAxis
from mcp_forecast_engine.data.frequency import DAY
from mcp_forecast_engine.errors import DataInvalid

US = HolidayCalendar("US")


def stamps(*days: str) -> np.ndarray:
    return np.array(days, "datetime64[s]").astype(np.int64)


def test_a_holiday_marks_its_day_the_one_before_and_the_one_after() -> None:
    ds = stamps("2024-07-03T23:00", "2024-07-04T00:00", "2024-07-04T23:00", "2024-07-05T00:00", "2024-07-06T00:00")
    found = holiday_columns(ds, TimeAxis("calendar", "h"), US)
    assert {name: values.tolist() for name, values in found.items()} == {
        "holiday_US": [0, 1, 1, 0, 0],
        "holiday_US_before": [1, 0, 0, 0, 0],
        "holiday_US_after": [0, 0, 0, 1, 0],
    }


@pytest.mark.parametrize(
    ("freq", "stamp", "days"),
    [
        ("W-FRI", "2024-11-29", 1),  # 23 to 29 November: Thanksgiving
        ("W-FRI", "2024-12-06", 0),
        ("W-SUN", "2025-01-05", 1),
        ("MS", "2024-11-01", 2),  # Veterans Day, Thanksgiving
        ("ME", "2024-11-30", 2),
        ("QS", "2024-10-01", 4),
        ("2D", "2024-12-24", 1),
    ],
)
def test_longer_steps_count_the_holidays_within(freq: str, stamp: str, days: int) -> None:
    found = holiday_columns(stamps(stamp), TimeAxis("calendar", freq), US)
    assert {name: values.tolist() for name, values in found.items()} == {"holiday_US_days": [days]}


def test_a_subdivision_has_holidays_of_its_own() -> None:
    axis, day = TimeAxis("calendar", "D"), stamps("2024-01-06")  # Epiphany
    bavaria, germany = holiday_calendar("DE-BY"), holiday_calendar("DE")
    assert holiday_names(bavaria, "D")[0] == "holiday_DE_BY"
    assert holiday_columns(day, axis, bavaria)["holiday_DE_BY"].tolist() == [1]
    assert holiday_columns(day, axis, germany)["holiday_DE"].tolist() == [0]
    assert holiday_calendar("USA") == US


@pytest.mark.parametrize(("code", "allowed"), [("XX", "DE"), ("de", "DE"), ("DE-XX", "DE-BY"), ("", "US")])
def test_an_unknown_code_is_refused_with_the_known_ones(code: str, allowed: str) -> None:
    with pytest.raises(DataInvalid) as refusal:
        holiday_calendar(code)
    assert refusal.value.field == "holidays"
    assert allowed in refusal.value.allowed
    assert refusal.value.next_step


def test_history_and_future_carry_the_same_columns_and_nothing_else_moves() -> None:
    panel = panel_of([np.arange(24 * 40.0), np.arange(24 * 30.0)], season_length=24)
    made = with_holidays(panel, {"calendar": "US", "horizon": 48})
    names = holiday_names(US, "h")
    assert {name: made.roles[name] for name in names} == dict.fromkeys(names, "known_future")
    assert all(made.future[name].shape == (2, 48) for name in names)
    assert all(np.isfinite(made.covariates[name]).all() for name in names)
    # The future of a shorter history is what the longer history turned out to be.
    short = panel_of([np.arange(24 * 10.0)], season_length=24)
    ahead = with_holidays(short, {"calendar": "US", "horizon": 24 * 20}).future["holiday_US"][0]
    np.testing.assert_array_equal(ahead, made.covariates["holiday_US"][24 * 10 : 24 * 30])
    assert ahead.sum() == 24  # 16 January 2012
    assert made.y is panel.y


def test_step_numbers_and_columns_of_that_name_are_refused() -> None:
    with pytest.raises(DataInvalid, match="counts steps") as refusal:
        with_holidays(panel_of([np.arange(40.0)], season_length=1, freq="1"), {"calendar": "US", "horizon": 2})
    assert refusal.value.field == "holidays"
    panel = panel_of([np.arange(48.0)], season_length=24)
    taken = replace(panel, covariates={"holiday_US": np.zeros(48)}, roles={"holiday_US": "historical"})
    with pytest.raises(DataInvalid, match="'holiday_US' of its own"):
        with_holidays(taken, {"calendar": "US", "horizon": 2})


def test_a_century_of_hours_is_quick_and_years_without_a_calendar_have_no_holidays() -> None:
    old = stamps("1700-01-01") + DAY * np.arange(30)
    assert holiday_columns(old, TimeAxis("calendar", "D"), US)["holiday_US"].sum() == 0
    days = stamps("1950-01-01") + DAY * np.arange(36_500)
    assert 900 < holiday_columns(days, TimeAxis("calendar", "D"), US)["holiday_US"].sum() < 1300


def test_the_library_is_imported_only_where_holidays_are_asked_for() -> None:
    code = (
        "import sys; import mcp_forecast_engine.factory.inputs, mcp_forecast_engine.serving.inference; "
        "print('holidays' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"

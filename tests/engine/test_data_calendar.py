"""The time axis: frequencies, the grid and what the calendar says about it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mcp_forecast_engine.data.calendar import calendar_features
from mcp_forecast_engine.data.frame import TimeAxis
from mcp_forecast_engine.data.frequency import infer_frequency, parse_frequency, season_length
from mcp_forecast_engine.data.grid import first_stamp, next_stamps, stamp_at, steps_since
from mcp_forecast_engine.errors import DataInvalid, FrequencyUnclear

ALIASES = ["s", "5min", "15min", "h", "6h", "D", "B", "W-FRI", "MS", "ME", "QS", "QS-FEB", "QE", "YS", "YS-JUL", "YE"]
SEASONS = {
    "15min": 96,
    "h": 24,
    "D": 7,
    "B": 5,
    "W-SUN": 52,
    "MS": 12,
    "ME": 12,
    "QS": 4,
    "YS": 1,
    "1": 1,
    "30min": 48,
    "2D": 1,
    "2W": 26,
}
FRIDAY = 1_704_412_800  # 2024-01-05


def one_series(ds: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return ds, np.array([0, len(ds)])


@pytest.mark.parametrize(("freq", "season"), SEASONS.items())
def test_a_frequency_has_the_season_people_expect(freq: str, season: int) -> None:
    assert season_length(freq) == season


@pytest.mark.parametrize(
    ("written", "meant"), [("hourly", "h"), ("H", "h"), ("60min", "h"), ("24h", "D"), ("W", "W-SUN"), ("Q", "QE")]
)
def test_other_spellings_mean_the_same_step(written: str, meant: str) -> None:
    assert parse_frequency(written) == parse_frequency(meant)


@pytest.mark.parametrize("alias", ["", "fortnight", "0D", "-1h", "W-XXX", "2B", "MS-FEB", "0"])
def test_an_unknown_frequency_is_refused_with_the_known_ones(alias: str) -> None:
    with pytest.raises(DataInvalid) as refusal:
        parse_frequency(alias)
    assert "15min" in str(refusal.value.allowed)


@pytest.mark.parametrize("alias", ALIASES)
def test_the_frequency_of_its_own_grid_is_found_in_spite_of_gaps_and_duplicates(alias: str) -> None:
    step = parse_frequency(alias)
    # The grid starts where the alias says, which only the anchored ones do by themselves.
    start = {"QS-FEB": "2024-02-01", "YS-JUL": "2024-07-01", "QE": "2024-03-31", "YE": "2024-12-31"}
    opening = np.datetime64(start.get(alias, "2024-01-05" if step.unit != "months" else "2024-01-01"), "s")
    ds = stamp_at(first_stamp(opening.astype(np.int64).reshape(1), step), np.arange(200), step)
    kept = np.sort(np.append(np.delete(ds, [20, 21, 22, 77, 130]), ds[40]))
    assert infer_frequency(*one_series(kept), calendar=True).alias == alias


def test_no_regular_step_is_refused_with_the_most_common_ones() -> None:
    ds = np.cumsum(np.array([3600, 5000, 7300, 11000, 3601] * 20))
    with pytest.raises(FrequencyUnclear, match=r"5000 s \(20%\)"):
        infer_frequency(*one_series(ds), calendar=True)
    with pytest.raises(FrequencyUnclear):
        infer_frequency(*one_series(np.array([0])), calendar=True)


def test_whole_numbers_step_by_their_common_distance() -> None:
    assert infer_frequency(*one_series(np.array([1, 2, 3, 5])), calendar=False).alias == "1"
    assert infer_frequency(*one_series(np.arange(0, 100, 10)), calendar=False).alias == "10"
    assert infer_frequency(*one_series(np.array([4])), calendar=False).alias == "1"


@given(st.sampled_from(ALIASES), st.integers(0, 2**31), st.integers(0, 500))
def test_a_step_and_its_timestamp_name_each_other(alias: str, ds: int, index: int) -> None:
    step = parse_frequency(alias)
    start = first_stamp(np.array([ds]), step)
    assert steps_since(start, stamp_at(start, np.array([index]), step), step).tolist() == [index]


def test_the_next_stamps_follow_the_calendar() -> None:
    def after(freq: str, last: str) -> list[str]:
        stamps = next_stamps(np.array([np.datetime64(last, "s").astype(np.int64)]), 3, parse_frequency(freq))
        return [str(stamp)[:10] for stamp in stamps[0].astype("datetime64[s]")]

    assert after("ME", "2024-01-31") == ["2024-02-29", "2024-03-31", "2024-04-30"]
    assert after("B", "2024-01-05") == ["2024-01-08", "2024-01-09", "2024-01-10"]
    assert after("QS", "2024-07-01") == ["2024-10-01", "2025-01-01", "2025-04-01"]


@pytest.mark.parametrize(
    ("freq", "count"), [("h", 35), ("15min", 43), ("D", 13), ("B", 11), ("W-FRI", 8), ("MS", 12), ("QS", 4), ("YS", 0)]
)
def test_features_depend_on_the_frequency_alone(freq: str, count: int) -> None:
    step = parse_frequency(freq)
    ds = next_stamps(first_stamp(np.array([FRIDAY]), step), 50, step)[0]
    names, values = calendar_features(ds, TimeAxis("calendar", freq))
    assert values.shape == (50, count)
    assert len(set(names)) == count
    assert np.isfinite(values).all()
    assert np.array_equal(calendar_features(ds[7:8], TimeAxis("calendar", freq))[1][0], values[7])


def test_one_hots_say_what_the_clock_says() -> None:
    names, values = calendar_features(np.array([FRIDAY + 5 * 3600]), TimeAxis("calendar", "h"))
    hot = {name for name, value in zip(names, values[0], strict=True) if value == 1 and "_cos" not in name}
    assert hot == {"hour_05", "weekday_fri"}


def test_step_numbers_have_no_calendar() -> None:
    names, values = calendar_features(np.arange(5), TimeAxis("integer", "1"))
    assert (names, values.shape) == ((), (5, 0))

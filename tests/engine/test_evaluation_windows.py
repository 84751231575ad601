from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import hourly, panel_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.evaluation.plan import BacktestPlan, origins_of, plan_for
from mcp_forecast_engine.evaluation.windows import truth_at, window_at

HORIZON = 6


@settings(max_examples=40, deadline=None)
@given(origin=st.integers(24, 24 * 5 - HORIZON), seed=st.integers(0, 99))
def test_a_window_is_the_same_whatever_the_future_holds(origin: int, seed: int) -> None:
    panel = hourly(5)
    draw = np.random.default_rng(seed)
    after = np.arange(len(panel.y)) >= origin
    beyond = np.arange(len(panel.y)) >= origin + HORIZON
    noise = draw.normal(size=len(panel.y)) * 100
    other = replace(
        panel,
        y=np.where(after, noise, panel.y),
        observed=np.where(after, noise > 0, panel.observed),
        covariates={
            "past": np.where(after, noise, panel.covariates["past"]),
            "driver": np.where(beyond, noise, panel.covariates["driver"]),
            "kind": np.where(beyond, noise, panel.covariates["kind"]),
        },
    )
    first, second = (window_at(p, np.array([origin]), HORIZON).history for p in (panel, other))
    assert set(first.future) == {"driver", "kind"}
    assert first.y.tobytes() == second.y.tobytes()
    assert first.observed.tobytes() == second.observed.tobytes()
    assert first.ds.max() < panel.ds[origin]
    for name in first.covariates:
        assert first.covariates[name].tobytes() == second.covariates[name].tobytes()
    for name in first.future:
        assert first.future[name].tobytes() == second.future[name].tobytes()
        assert first.future[name].shape == (1, HORIZON)


def test_a_window_owns_its_values_so_that_no_later_one_can_be_reached() -> None:
    panel = hourly(5)
    history = window_at(panel, np.array([60]), HORIZON).history
    assert not np.shares_memory(history.y, panel.y)
    assert history.y.base is None
    assert not any(np.shares_memory(history.covariates[n], panel.covariates[n]) for n in panel.covariates)


def test_series_without_an_origin_take_no_part() -> None:
    panel = panel_of([np.arange(30.0), np.arange(10.0), np.arange(40.0)], season_length=1, freq="1")
    window = window_at(panel, np.array([20, -1, 25]), 5)
    assert window.history.unique_id == ("s0000", "s0002")
    np.testing.assert_array_equal(window.history.lengths, [20, 25])
    truth = truth_at(panel, np.array([20, -1, 25]), 5)
    np.testing.assert_array_equal(truth.y, [np.arange(20.0, 25), np.arange(25.0, 30)])


def test_the_default_plan_tests_hourly_days_on_the_last_sixty_days() -> None:
    plan = plan_for(hourly(600), 24)
    assert (plan.stride, plan.test_windows, plan.validation_windows) == (24, 60, 60)
    assert plan.back(plan.windows - 1) == 24
    assert plan.back(plan.validation_windows) == 60 * 24


@pytest.mark.parametrize(
    ("season", "horizon", "length", "stride", "ahead"),
    [(7, 14, 1_400, 14, 14), (7, 10, 1_400, 14, 14), (24, 36, 9_600, 48, 48), (12, 6, 480, 12, 12), (1, 6, 480, 6, 6)],
)
def test_windows_whole_seasons_apart_start_where_the_forecast_will_start(
    season: int, horizon: int, length: int, stride: int, ahead: int
) -> None:
    panel = panel_of([np.arange(float(length))], season_length=season, freq="1")
    plan = plan_for(panel, horizon)
    assert (plan.stride, plan.ahead) == (stride, ahead)
    assert {plan.back(window) % season for window in range(plan.windows)} == {0}
    assert all(plan.back(k) - horizon >= plan.back(k + 1) for k in range(plan.windows - 1))


def test_windows_closer_than_a_season_go_up_to_the_end_of_the_data() -> None:
    plan = plan_for(panel_of([np.arange(120.0)], season_length=12, freq="1"), 6)
    assert plan.stride == 1
    assert plan.back(plan.windows - 1) == 6


def test_a_plan_of_its_own_ends_as_far_before_the_end_as_it_says() -> None:
    plan = BacktestPlan(horizon=6, season_length=4, stride=5, validation_windows=2, test_windows=3)
    assert [plan.back(k) for k in range(5)] == [31, 26, 16, 11, 6]
    assert [replace(plan, ahead=8).back(k) for k in range(5)] == [33, 28, 18, 13, 8]


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(8, 900),
    season=st.sampled_from([1, 4, 7, 12, 24, 52]),
    horizon=st.integers(1, 60),
    series=st.sampled_from([1, 25]),
)
def test_a_plan_fits_the_history_and_validates_before_it_tests(
    length: int, season: int, horizon: int, series: int
) -> None:
    panel = panel_of([np.arange(float(length))] * series, season_length=season, freq="1")
    need = 2 * horizon + max(horizon, season) + 1
    if length < need:
        with pytest.raises(HistoryTooShort, match=f"needs {need}"):
            plan_for(panel, horizon)
        return
    plan = plan_for(panel, horizon)
    origins = [int(origin[0]) for origin in origins_of(panel, plan)]
    assert plan.need <= length
    assert min(origins) > max(horizon, season)
    assert origins == sorted(origins)
    assert origins[-1] + max(plan.ahead, horizon) == length
    assert origins[plan.validation_windows - 1] + horizon <= origins[plan.validation_windows]

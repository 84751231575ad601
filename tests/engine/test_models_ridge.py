from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import hourly, panel_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_forecast_engine.errors import CovariatesMismatch, HistoryTooShort
from mcp_forecast_engine.evaluation.windows import window_at
from mcp_forecast_engine.models.direct_ridge import DirectRidge
from mcp_forecast_engine.models.features import inputs_at, layout_for, phase_of, tail_inputs
from mcp_forecast_engine.models.regression import Moments, Ridge
from mcp_forecast_engine.models.ridge_trials import exam_for
from mcp_forecast_engine.models.ridge_tuning import SOME_SERIES
from mcp_forecast_engine.models.seasonal_naive import SeasonalNaive
from mcp_forecast_engine.models.spec import lookback_for, spec_for

PLAIN = {"transform": "identity", "aligned": False, "members": [[1.0, 0.1]]}
APART = {"transform": "identity", "aligned": True, "members": [[1.0, 0.1], [0.5, 1.0]]}


def test_a_ridge_solution_is_the_textbook_one() -> None:
    draw = np.random.default_rng(1)
    x, z = draw.normal(size=(80, 5)) * [1, 2, 3, 4, 5] + 7, draw.normal(size=(80, 3))
    moments = Moments.empty(5, 3)
    for part in np.array_split(np.arange(80), 4):
        moments.add(x[part], z[part])
    weights, bias = Ridge(moments).solve(0.3)
    standard = (x - x.mean(0)) / x.std(0)
    expected = np.linalg.solve(standard.T @ standard + 0.3 * 80 * np.eye(5), standard.T @ (z - z.mean(0)))
    np.testing.assert_allclose(x @ weights + bias, standard @ expected + z.mean(0), rtol=1e-9, atol=1e-9)
    shares = np.array([1.0, 0.1, 1.0, 0.1, 0.01])
    weights, bias = Ridge(moments, shares).solve(0.3)
    expected = np.linalg.solve(standard.T @ standard + 0.3 * 80 * np.diag(shares), standard.T @ (z - z.mean(0)))
    np.testing.assert_allclose(x @ weights + bias, standard @ expected + z.mean(0), rtol=1e-9, atol=1e-9)


@settings(max_examples=12, deadline=None)
@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3), aligned=st.booleans())
def test_shifting_and_scaling_the_series_shifts_and_scales_the_forecast(
    scale: float, shift: float, aligned: bool
) -> None:
    panel = hourly(40)
    moved = replace(panel, y=panel.y * scale + shift)
    found = []
    for history in (panel, moved):
        spec = replace(spec_for(history, 24), nonnegative=False)
        path = DirectRidge.fit(history, spec, APART if aligned else PLAIN, phases=np.array([0]))
        found.append(path.point(tail_inputs(history, path.layout)))
    np.testing.assert_allclose(found[1], found[0] * scale + shift, rtol=1e-5, atol=1e-5 * scale)


def test_a_forecast_moves_when_the_known_future_covariate_moves() -> None:
    panel = hourly(60)
    history = window_at(panel, panel.lengths - 24, 24).history
    path = DirectRidge.fit(history, spec_for(history, 24, roles=("known_future",)), PLAIN)
    warmer = replace(history, future=history.future | {"driver": history.future["driver"] + 1.0})
    effect = path.point(tail_inputs(warmer, path.layout)) - path.point(tail_inputs(history, path.layout))
    assert 1 < effect.mean() < 6
    assert (effect > 0).all()


def test_a_rare_promotion_lifts_the_forecast_by_nearly_its_whole_effect() -> None:
    draw = np.random.default_rng(0)
    day = np.arange(700)
    promotion = (draw.random(700) < 0.1).astype(float)
    y = 100 + 20 * np.sin(2 * np.pi * day / 7) + 60 * promotion + draw.normal(0, 6, 700)
    panel = panel_of([y], season_length=7, freq="1", known_future={"promotion": [promotion]})
    spec = spec_for(panel, 7, roles=("known_future",))
    found = DirectRidge.tune(panel, spec, [np.array([700 - 7 * back]) for back in range(30, 0, -1)], {})
    path = DirectRidge.fit(panel, spec, found)
    on, off = (
        path.point(tail_inputs(replace(panel, future={"promotion": np.full((1, 7), value)}), path.layout))
        for value in (1.0, 0.0)
    )
    assert 48 < (on - off).mean() < 72
    assert found["future_penalty"] < 1


def test_a_covariate_beyond_its_training_range_counts_as_its_end() -> None:
    panel = hourly(60)
    history = window_at(panel, panel.lengths - 24, 24).history
    path = DirectRidge.fit(history, spec_for(history, 24, roles=("known_future",)), PLAIN)
    far = [replace(history, future=history.future | {"driver": np.full((1, 24), value)}) for value in (1e3, 1e9)]
    first, second = (path.point(tail_inputs(panel, path.layout)) for panel in far)
    np.testing.assert_array_equal(first, second)


def test_two_fits_are_equal_bit_for_bit() -> None:
    panel = hourly(40)
    spec = spec_for(panel, 24, roles=("known_future", "historical"))
    first, second = (DirectRidge.fit(panel, spec, APART) for _ in range(2))
    assert first.weights.tobytes() == second.weights.tobytes()
    assert first.bias.tobytes() == second.bias.tobytes()


def test_tuning_prefers_weights_by_phase_where_the_hours_behave_differently() -> None:
    draw = np.random.default_rng(3)
    hour = np.arange(24 * 120)
    swing = np.repeat(draw.normal(size=120), 24)
    y = 10 + np.where(hour % 24 < 12, swing, -swing) * 5 + draw.normal(size=len(hour)) * 0.2
    origins = [np.array([24 * (120 - k) - 12]) for k in range(12, 0, -1)]
    panel = panel_of([y], season_length=24)
    chosen = DirectRidge.tune(panel, spec_for(panel, 24), origins, {})
    assert chosen["aligned"] is True


def test_weights_of_a_series_own_do_not_win_by_the_steps_that_other_series_lack() -> None:
    draw = np.random.default_rng(5)
    shocks, y = draw.normal(size=(260, 90)), np.zeros((260, 90))
    for step in range(1, 90):
        y[:, step] = 0.6 * y[:, step - 1] + shocks[:, step]  # one rule for all: weights of their own gain nothing
    panel = panel_of(list(20 + y), season_length=1, freq="1")
    spec, origins = spec_for(panel, 3), [panel.lengths - back for back in range(18, 0, -3)]
    exam = exam_for(panel, spec, origins, fits=1)
    left_out = ~np.isin(exam.series, exam.some(SOME_SERIES)[0].series)
    observed = panel.observed.copy()
    observed[(panel.offsets[exam.series] + exam.origin)[left_out][:, None] + np.arange(3)] = False
    for seen in (panel.observed, observed):
        assert DirectRidge.tune(replace(panel, observed=seen), spec, origins, {})["local"] is None


def test_a_constant_series_is_forecast_as_that_constant() -> None:
    for value in (0.0, 7.0, -3.5):
        panel = panel_of([np.full(200, value)], season_length=12, freq="1")
        spec = spec_for(panel, 12)
        settings_ = DirectRidge.tune(panel, spec, [np.array([180])], {})
        path = DirectRidge.fit(panel, spec, settings_)
        np.testing.assert_allclose(path.point(tail_inputs(panel, path.layout)), value, atol=1e-9)


@pytest.mark.parametrize(("length", "season", "horizon"), [(20, 1, 4), (30, 12, 6), (60, 7, 30), (500, 24, 60)])
def test_short_series_and_long_horizons_still_get_a_path(length: int, season: int, horizon: int) -> None:
    y = np.random.default_rng(length).normal(size=length).cumsum()
    panel = panel_of([y, y[: length - 3] * 2], season_length=season, freq="1")
    spec = spec_for(panel, horizon)
    for family in (SeasonalNaive, DirectRidge):
        path = family.fit(panel, spec, family.tune(panel, spec, [panel.lengths - horizon], {}))
        found = path.point(tail_inputs(panel, path.layout))
        assert found.shape == (2, horizon)
        assert np.isfinite(found).all()


def test_a_history_without_a_single_window_is_refused() -> None:
    panel = panel_of([np.arange(5.0)], season_length=1, freq="1")
    with pytest.raises(HistoryTooShort, match="no training window"):
        DirectRidge.fit(panel, spec_for(panel, 8), PLAIN)


def test_seasonal_naive_repeats_the_last_season() -> None:
    panel = hourly(20)
    spec = spec_for(panel, 30)
    path = SeasonalNaive.fit(panel, spec, {"period": 24})
    expected = np.concatenate([panel.y[-24:], panel.y[-24:-18]])
    np.testing.assert_allclose(path.point(tail_inputs(panel, path.layout))[0], expected, rtol=1e-12)


def test_missing_future_rows_are_named_with_the_number_needed() -> None:
    panel = hourly(30)
    layout = layout_for(spec_for(panel, 24, roles=("known_future",)), panel.axis)
    with pytest.raises(CovariatesMismatch, match=r"driver \(0 of 24 rows\), kind \(0 of 24 rows\).*reads all 24 steps"):
        tail_inputs(panel, layout)


def test_inputs_from_inside_a_panel_equal_those_from_its_cut_tail() -> None:
    panel = hourly(30)
    layout = layout_for(spec_for(panel, 24, roles=("known_future", "historical")), panel.axis)
    for origin in (200, 333, 600):
        inside = inputs_at(panel, layout, np.array([0]), np.array([origin]))
        cut = tail_inputs(window_at(panel, np.array([origin]), 24).history, layout)
        for name in inside.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(inside, name), getattr(cut, name))


def test_the_phase_of_an_hour_is_its_hour_of_the_day() -> None:
    panel = hourly(3)
    np.testing.assert_array_equal(phase_of(panel.ds, panel.axis, 24), np.arange(72) % 24)


def test_the_lookback_is_whole_seasons_and_leaves_windows_to_learn_from() -> None:
    assert lookback_for(season_length=24, horizon=24, history=10_000) == 168
    assert lookback_for(season_length=24, horizon=24, history=200) == 48
    assert lookback_for(season_length=12, horizon=12, history=60) == 12
    assert lookback_for(season_length=1, horizon=6, history=500) == 12

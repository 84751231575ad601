"""The same choice on data of other kinds: walks, jumps, short histories and odd steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import panel_of
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.evaluation.backtest import Backtest, backtest
from mcp_forecast_engine.evaluation.budget import BUDGETS
from mcp_forecast_engine.evaluation.combining import Judge, choose_mix
from mcp_forecast_engine.evaluation.model_lines import MODEL_LINES
from mcp_forecast_engine.evaluation.model_size import Size, size_of
from mcp_forecast_engine.evaluation.plan import BacktestPlan, plan_for
from mcp_forecast_engine.evaluation.windows import Truth
from mcp_forecast_engine.models.spec import spec_for

Floats = NDArray[np.float64]
CLASSICAL = {"theta", "ets", "ces"}


def answered(values: Floats, *, season_length: int, horizon: int) -> Backtest:
    panel = panel_of([values], season_length=season_length, freq="1")
    return backtest(panel, plan_for(panel, horizon), BUDGETS["small"])


def walk(length: int) -> Floats:
    return np.asarray(100 + np.cumsum(np.random.default_rng(3).normal(size=length)), np.float64)


def mase(found: Backtest, arm: str) -> float:
    return next(one for one in found.report.arms if one.name == arm).metric("MASE")


def test_a_random_walk_of_days_is_answered_by_levels_and_not_by_last_week() -> None:
    found = answered(walk(700), season_length=7, horizon=14)
    weights = {line.name: line.weight for line in found.report.tried}
    assert {"last value", *CLASSICAL} <= weights.keys()
    assert sum(weights[name] for name in ("last value", *CLASSICAL)) > 0.5
    assert mase(found, found.report.chosen) < mase(found, "seasonal_naive")


def test_a_level_that_jumped_shortly_before_the_test_part_is_followed() -> None:
    draw, step = np.random.default_rng(5), np.arange(600)
    y = np.where(step > 370, 160.0, 100.0) + 8 * np.sin(2 * np.pi * step / 7) + draw.normal(0, 3, 600)
    found = answered(y, season_length=7, horizon=14)
    assert mase(found, found.report.chosen) < mase(found, "seasonal_naive")
    assert mase(found, found.report.chosen) < mase(found, "target_only")


def seen(windows: int) -> Judge:
    """One series whose truth is zero everywhere, so that a path is its own error."""
    truth = Truth(y=np.zeros((1, 6)), observed=np.ones((1, 6), bool), ds=np.zeros((1, 6), np.int64))
    plan = BacktestPlan(horizon=6, season_length=1, stride=6, validation_windows=windows, test_windows=4)
    return Judge([(np.zeros(1, np.int64), truth)] * windows, np.ones(1), plan)


def errors(place: int, size: float, windows: int = 5) -> list[Floats]:
    found = np.random.default_rng(place).normal(size=(windows, 1, 6))
    return list(size * found / np.abs(found).mean())


def test_sturdy_models_take_half_of_the_answer_unless_they_look_far_worse() -> None:
    paths = {"a": errors(1, 1.0), **{name: errors(k, 1.5) for k, name in enumerate(sorted(CLASSICAL), 2)}}
    alone = choose_mix(paths, seen(5), baseline="naive")
    steadied = choose_mix(paths, seen(5), baseline="naive", sturdy=sorted(CLASSICAL))
    shares = dict(zip(steadied.members, steadied.weights, strict=True))
    assert sum(shares.values()) == pytest.approx(1.0)
    assert all(shares[name] >= 1 / 6 - 1e-6 for name in CLASSICAL)
    assert shares["a"] == pytest.approx(dict(zip(alone.members, alone.weights, strict=True))["a"] / 2)
    worse = {"a": errors(1, 1.0), **{name: errors(k, 9.0) for k, name in enumerate(sorted(CLASSICAL), 2)}}
    assert choose_mix(worse, seen(5), baseline="naive", sturdy=sorted(CLASSICAL)).members == ("a",)


def test_overlapping_windows_count_as_the_horizons_they_hold() -> None:
    apart = seen(5)
    assert apart.evidence() == pytest.approx(5.0)
    overlapping = replace(apart, plan=replace(apart.plan, stride=2))
    assert overlapping.evidence() == pytest.approx(1 + 4 / 3)


def test_a_short_series_is_not_left_to_the_luck_of_a_few_windows() -> None:
    draw, step = np.random.default_rng(8), np.arange(48)
    y = (100 + 2.0 * step) * np.tile([0.8, 1.0, 1.3, 0.9], 12) * np.exp(draw.normal(0, 0.1, 48))
    found = answered(y, season_length=4, horizon=4)
    weights = {line.name: line.weight for line in found.report.tried}
    assert sum(weights.values()) == pytest.approx(1.0)
    assert sum(weights[name] for name in CLASSICAL) >= 0.5


def size(panel: Panel, horizon: int) -> Size:
    return size_of(panel, spec_for(panel, horizon), plan_for(panel, horizon))


def test_a_network_is_planned_dearer_where_windows_start_at_many_phases_of_the_season() -> None:
    once = size(panel_of([walk(288 * 60)], season_length=288, freq="1"), 288)
    often = size(panel_of([walk(288 * 14)], season_length=288, freq="1"), 12)
    network = next(line for line in MODEL_LINES if line.family == "mlp")
    assert (once.phases, often.phases) == (1, 24)
    assert network.fit(often) > network.fit(once)


def test_minutes_of_less_than_a_day_are_refused_with_a_way_out() -> None:
    minutes = panel_of([walk(1_200)], season_length=1_440, freq="1")
    with pytest.raises(HistoryTooShort) as refusal:
        plan_for(minutes, 30)
    assert "season_length" in str(refusal.value.next_step)
    hours = panel_of([walk(1_200)], season_length=60, freq="1")
    assert plan_for(hours, 30).windows > 10


def test_a_series_that_starts_after_a_year_of_zeros_is_answered() -> None:
    draw = np.random.default_rng(0)
    y = np.where(np.arange(300) > 250, 10 + draw.normal(size=300), 0.0)
    found = answered(y, season_length=7, horizon=7)
    assert np.isfinite(found.run(found.report.chosen).issued.quantiles[-1]).all()

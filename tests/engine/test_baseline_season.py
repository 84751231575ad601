"""Who asks for a season that the data do not have does not choose by that what models are measured by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forecast_toys import REFERENCES_ONLY, hourly, panel_of
from label_toys import on
from negative_home import Place, opened

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.backtest import backtest
from mcp_forecast_engine.evaluation.baseline import with_baseline
from mcp_forecast_engine.evaluation.plan import BacktestPlan, origins_of, plan_for


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with opened(tmp_path / "home") as made:
        yield made


def wandering_weeks(days: int = 400) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Each day of the week walks by itself: repeating the last week is as good as any model."""
    draw = np.random.default_rng(3)
    weeks = np.cumsum(draw.normal(size=(days // 7 + 1, 7)) * 6, axis=0) + draw.normal(size=7) * 80 + 500
    return weeks.ravel()[:days]


def planned(panel: Panel, horizon: int) -> BacktestPlan:
    plan = plan_for(panel, horizon)
    return with_baseline(panel, plan, origins_of(panel, plan))


@pytest.mark.parametrize("asked", [3, 6, 1])
def test_a_season_that_the_data_do_not_have_makes_no_baseline_easier_to_beat(asked: int) -> None:
    usual = replace(hourly(40), season_length=24)
    other = replace(usual, season_length=asked)
    honest = backtest(usual, planned(usual, 24), REFERENCES_ONLY)
    found = backtest(other, planned(other, 24), REFERENCES_ONLY)
    assert found.report.plan.baseline_season == 24
    assert found.report.arm("target_only").spec.season_length == asked
    naive, real = (one.report.arm("seasonal_naive") for one in (found, honest))
    assert naive.settings == {"period": 24}
    assert naive.metric("MASE") == pytest.approx(real.metric("MASE"), rel=0.2)  # scaled by the same season
    assert "y[t - 24]" in next(m.definition for m in naive.metrics if m.name == "MASE")
    assert found.report.notes[0].startswith("the baseline repeats the last 24 steps, the usual season of these steps")


def test_a_season_that_is_the_usual_one_or_errs_less_leaves_the_plan_as_it_was() -> None:
    usual = hourly(40)
    assert planned(usual, 24) == plan_for(usual, 24)
    assert "baseline_season" not in plan_for(usual, 24).to_dict()
    draw = np.random.default_rng(5)
    week = draw.normal(size=168) * 20 + 100
    weekly = panel_of([np.tile(week, 8) + draw.normal(size=8 * 168)], season_length=168)
    assert planned(weekly, 24).baseline_season == 0


def test_the_baseline_is_chosen_without_what_the_test_part_holds() -> None:
    panel = replace(hourly(40), season_length=3)
    plan = plan_for(panel, 24)
    first = int(origins_of(panel, plan)[plan.validation_windows][0])
    noise = np.random.default_rng(1).normal(size=len(panel.y)) * 1e4
    other = replace(panel, y=np.where(panel.steps < first, panel.y, noise))
    assert planned(other, 24) == planned(panel, 24)


def test_a_gate_that_fails_with_the_season_of_the_data_fails_with_any_other(place: Place) -> None:
    rows = [{"day": on(day), "y": float(y)} for day, y in enumerate(wandering_weeks())]
    dataset, decisions = place.register(rows), {}
    for season in (None, 3):
        ended = place.work(place.enter(place.plan(dataset, season_length=season)))
        assert ended.result is not None
        decisions[season] = place.read(ended.result)["gate"]["decision"]
    assert decisions == {None: "FAIL", 3: "FAIL"}

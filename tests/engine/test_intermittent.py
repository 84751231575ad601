from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import panel_of
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.data.intermittent import mostly_zero, sparse
from mcp_forecast_engine.evaluation.backtest import backtest, fit_arm
from mcp_forecast_engine.evaluation.budget import Budget
from mcp_forecast_engine.evaluation.plan import plan_for
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.export import export_model
from mcp_forecast_engine.models.features import tail_inputs
from mcp_forecast_engine.models.spec import MEDIAN, QUANTILES
from mcp_forecast_engine.serving.forecast import forecast
from mcp_forecast_engine.serving.inference import columns_of
from mcp_forecast_engine.serving.session import load_model

Floats = NDArray[np.float64]

NO_EXTRAS = Budget("small", 5.0, ())


def parts(series: int, steps: int, *, share: float = 0.12, seed: int = 0) -> Panel:
    """Spare parts: a few a day, on few days."""
    draw = np.random.default_rng(seed)
    found = [np.where(draw.random(steps) < share, draw.poisson(4, steps) + 1.0, 0.0) for _ in range(series)]
    return panel_of(found, season_length=7, freq="1")


def test_a_target_is_intermittent_where_every_place_of_the_season_is_mostly_zero() -> None:
    assert mostly_zero(parts(1, 600)) == pytest.approx(0.88, abs=0.03)
    hour = np.arange(24 * 60)
    solar = np.maximum(np.sin(2 * np.pi * (hour - 9) / 24) - 0.3, 0.0)
    assert (solar == 0).mean() > 0.5
    assert mostly_zero(panel_of([solar], season_length=24)) is None


@pytest.mark.parametrize("y", [np.zeros(50), np.r_[np.zeros(40), -np.ones(10)], np.r_[np.zeros(10), np.ones(40)]])
def test_nothing_but_zeros_something_negative_or_mostly_something_is_not_intermittent(y: Floats) -> None:
    assert sparse(panel_of([y], season_length=1, freq="1")) == ()


def test_what_was_filled_in_does_not_count_as_zero() -> None:
    panel = panel_of([np.tile([3.0, 0.0, 0.0], 40)], season_length=1, freq="1")
    assert mostly_zero(panel) is not None
    assert mostly_zero(replace(panel, observed=panel.y > 0)) is None


@pytest.mark.parametrize("series", [1, 6])
def test_lower_bounds_are_zero_where_that_many_steps_are_and_the_file_says_so_too(series: int) -> None:
    panel = parts(series, 400)
    report = backtest(panel, plan_for(panel, 14), NO_EXTRAS).report
    arm = report.arm(report.chosen)
    model = fit_arm(panel, arm)
    inputs = tail_inputs(panel, model.layout)
    found = model.quantiles(inputs)
    np.testing.assert_array_equal(found[:, :, : MEDIAN + 1], 0.0)
    assert np.all(found[:, :, -1] > 1.0)
    served = load_model(export_model(model, contract_of(model, panel))).run(inputs)
    np.testing.assert_allclose(served, found, atol=1e-4)
    assert arm.metric("coverage_80") >= 0.75
    assert any(note.startswith("intermittent: 8") for note in report.notes)


def test_a_choice_among_models_of_rare_demand_is_not_fooled_by_a_run_of_zeros() -> None:
    draw = np.random.default_rng(3)
    panel = parts(1, 600, seed=3)
    y = panel.y.copy()
    y[360:470] = np.where(draw.random(110) < 0.02, 5.0, 0.0)
    report = backtest(replace(panel, y=y), plan_for(panel, 14), NO_EXTRAS).report
    chosen = report.arm(report.chosen)
    naive = report.arm("seasonal_naive")
    assert chosen.metric("WQL") < naive.metric("WQL")
    last = [
        weight for member, weight in zip(chosen.members, chosen.weights, strict=True) if member.name == "last value"
    ]
    assert sum(last) < 0.5
    assert "squared errors" in report.choice


def test_levels_rise_from_zero_to_the_part_that_is_not() -> None:
    panel = parts(1, 400, share=0.3)
    report = backtest(panel, plan_for(panel, 14), NO_EXTRAS).report
    model = fit_arm(panel, report.arm(report.chosen))
    inputs = tail_inputs(panel, model.layout)
    zeros = (inputs.target[:, -model.measured :] == 0).mean()
    found = model.quantiles(inputs)[0]
    np.testing.assert_array_equal(found[:, np.array(QUANTILES) <= zeros], 0.0)
    assert np.all(np.diff(found, axis=1) >= 0)


def test_medians_of_zero_come_with_a_mean_that_adds_up_to_what_is_expected() -> None:
    panel = parts(1, 600)
    report = backtest(panel, plan_for(panel, 14), NO_EXTRAS).report
    model = fit_arm(panel, report.arm(report.chosen))
    made = forecast(load_model(export_model(model, contract_of(model, panel))), panel)
    (columns,) = columns_of(made, 14, [80], panel.axis)
    assert sum(columns["median"]) == 0.0
    assert sum(columns["mean"]) == pytest.approx(14 * panel.y.mean(), rel=0.5)
    certain = replace(made, quantiles=made.quantiles + 5.0)
    np.testing.assert_allclose(certain.mean, made.mean + 5.0)
    assert "mean" not in columns_of(certain, 14, [80], panel.axis)[0]

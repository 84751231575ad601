"""What is served is what was tested: intervals in the same units, measured on as many steps, wherever the data end."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import REFERENCES_ONLY, panel_of
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.backtest import Backtest, backtest, fit_arm
from mcp_forecast_engine.evaluation.budget import Budget
from mcp_forecast_engine.evaluation.plan import plan_for
from mcp_forecast_engine.evaluation.report import ArmReport, read_arm
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Unit
from mcp_forecast_engine.models.contract import contract_of, read_contract
from mcp_forecast_engine.models.export import export_onnx
from mcp_forecast_engine.models.features import tail_inputs
from mcp_forecast_engine.models.spec import QUANTILES, spec_for
from mcp_forecast_engine.models.table import MODELS
from mcp_forecast_engine.serving.session import load_model

CLASSICAL = Budget("small", 3.0)
LOW, HIGH = QUANTILES.index(0.1), QUANTILES.index(0.9)


def climbing(series: int, length: int) -> Panel:
    """Steep lines around which little happens: the more of one is read, the larger its spread."""
    draw, step = np.random.default_rng(0), np.arange(length)
    return panel_of(
        [100 + 20 * step + np.cumsum(draw.normal(size=length)) * 5 for _ in range(series)], season_length=1, freq="1"
    )


def saws(length: int) -> Panel:
    """Thirty rising series that fall within a year as they rise over years: one year has hardly any spread, or much."""
    draw, step = np.random.default_rng(0), np.arange(80)
    made = [200 + 2 * step * (1 + draw.normal() / 10) - 2 * (step % 12) + 2 * draw.normal(size=80) for _ in range(30)]
    return panel_of([y[:length] for y in made], season_length=12, freq="1")


def width(quantiles: NDArray[np.float64]) -> float:
    return float((quantiles[..., HIGH] - quantiles[..., LOW]).mean())


def served(model: CalibratedModel, panel: Panel) -> float:
    return width(model.quantiles(tail_inputs(panel, model.layout)))


def chosen(found: Backtest) -> ArmReport:
    return found.report.arm(found.report.chosen)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return climbing(30, 60)


@pytest.fixture(scope="module")
def found(panel: Panel) -> Backtest:
    return backtest(panel, plan_for(panel, 6), CLASSICAL)


def test_served_intervals_are_as_wide_as_the_tested_ones_though_the_final_model_reads_more(
    panel: Panel, found: Backtest
) -> None:
    arm, run = chosen(found), found.run(found.report.chosen)
    model = fit_arm(panel, arm)
    assert model.path.layout.lookback > run.measured == arm.intervals.lookback
    assert served(model, panel) == pytest.approx(width(run.issued.quantiles[-1]), rel=0.1)


def test_the_file_measures_on_the_same_steps_as_the_model(panel: Panel, found: Backtest) -> None:
    arm = chosen(found)
    for steps in (8, arm.intervals.lookback, 70):  # fewer, and more, than the members read
        model = fit_arm(panel, replace(arm, intervals=replace(arm.intervals, lookback=steps)))
        session = load_model(export_onnx(model, contract_of(model, panel)))
        inputs = tail_inputs(panel, session.contract.layout)
        assert session.contract.layout.lookback == max(60, steps or 0)
        np.testing.assert_allclose(session.run(inputs), model.quantiles(inputs), rtol=1e-4)


def test_the_measured_steps_are_read_back_and_an_older_evaluation_serves_as_it_did(
    panel: Panel, found: Backtest
) -> None:
    arm = chosen(found)
    plain = json.loads(json.dumps(arm.to_dict()))
    assert read_arm(plain).intervals == arm.intervals
    del plain["intervals"]["lookback"]
    model = fit_arm(panel, read_arm(plain))
    inputs = tail_inputs(panel, model.path.layout)
    scale, by = Unit(arm.intervals.transform, arm.intervals.spread).measured(inputs.target, 1)
    offsets = np.array(arm.intervals.offsets)
    expected = ((offsets[:, HIGH] - offsets[:, LOW]) * by * scale.spread).mean()
    assert width(model.quantiles(inputs)) == pytest.approx(expected)


def test_the_unit_is_measured_on_two_seasons_though_the_model_reads_one_and_hardly_moves_with_the_phase() -> None:
    history = saws(72)
    made = backtest(history, plan_for(history, 6), REFERENCES_ONLY)
    arm = made.report.arm("target_only")
    assert (arm.lookback, arm.intervals.lookback, arm.intervals.spread) == (12, 24, "change")
    model = fit_arm(history, arm)
    assert model.layout.lookback == 24
    widths = [served(model, saws(72 + later)) for later in (0, 3, 6)]
    assert max(widths) < 1.3 * min(widths)


def test_where_the_history_holds_one_season_only_no_change_from_season_to_season_is_claimed() -> None:
    short = saws(34)
    arm = chosen(backtest(short, plan_for(short, 6), REFERENCES_ONLY))
    assert (arm.intervals.lookback, arm.intervals.spread) == (12, "level")


def test_the_contract_names_the_places_in_the_season_at_which_intervals_were_measured() -> None:
    history = saws(72)
    model = fit_arm(history, chosen(backtest(history, plan_for(history, 6), REFERENCES_ONLY)))
    contract = contract_of(model, history)
    assert contract.tested == (1,)  # step 73, as the next one
    assert read_contract(contract.to_json()) == contract
    older = json.loads(contract.to_json())
    del older["tested"]
    assert read_contract(json.dumps(older)).tested == ()


def test_what_fell_below_zero_after_the_test_part_began_is_clipped_in_the_test_and_not_in_what_is_served() -> None:
    draw = np.random.default_rng(0)
    y = np.maximum(draw.normal(loc=2.0, size=300), 0.0)
    y[-3:] = -1.0
    panel = panel_of([y], season_length=1, freq="1")
    found = backtest(panel, plan_for(panel, 3), REFERENCES_ONLY)
    assert min(step.min() for step in found.run("target_only").issued.quantiles) >= 0
    model = fit_arm(panel, found.report.arm("target_only"))
    assert not model.calibration.nonnegative
    calm = fit_arm(replace(panel, y=np.maximum(y, 0.0)), found.report.arm("target_only"))
    assert calm.calibration.nonnegative


@pytest.mark.parametrize("unit", [1.0, 0.001, 1000.0])
def test_a_series_of_zeros_is_forecast_zero_in_whatever_unit_the_others_are_told(unit: float) -> None:
    draw, step = np.random.default_rng(0), np.arange(120)
    made = [50 + i + 10 * np.sin(step * np.pi / 6) + draw.normal(size=120) for i in range(25)]
    panel = panel_of([unit * y for y in [*made, np.zeros(120)]], season_length=12, freq="1")
    model = fit_arm(panel, backtest(panel, plan_for(panel, 6), REFERENCES_ONLY).report.arm("target_only"))
    inputs = tail_inputs(panel, model.layout)
    found = model.quantiles(inputs)
    assert not found[25].any()
    assert found[:25].min() > 20 * unit
    file = load_model(export_onnx(model, contract_of(model, panel)))
    np.testing.assert_allclose(file.run(inputs), found, rtol=1e-5)


def test_what_is_zero_where_it_is_measured_keeps_the_path_of_a_model_that_reads_more(panel: Panel) -> None:
    naive = MODELS["seasonal_naive"].fit(panel, replace(spec_for(panel, 6), lookback=12), {"period": 12})
    offsets = np.tile(np.linspace(-1, 1, len(QUANTILES)), (6, 1))
    model = CalibratedModel(naive, Calibration(offsets, Unit("identity", "level"), None, lookback=6))
    inputs = tail_inputs(panel, model.layout)
    inputs.target[:, -6:] = 0.0
    found = model.quantiles(inputs)
    np.testing.assert_allclose(found, np.repeat(inputs.target[:, :6, None], len(QUANTILES), axis=2))
    file = load_model(export_onnx(model, contract_of(model, panel)))
    np.testing.assert_allclose(file.run(inputs), found, rtol=1e-6)


def test_a_series_that_began_lately_gets_no_narrower_intervals_for_the_past_that_is_made_up_for_it() -> None:
    draw, step = np.random.default_rng(0), np.arange(72)
    made = [100 + 10 * np.sin(step * np.pi / 6) + 3 * draw.normal(size=72) for _ in range(30)]
    history = panel_of(made, season_length=12, freq="1")
    model = fit_arm(history, backtest(history, plan_for(history, 6), REFERENCES_ONLY).report.arm("target_only"))
    assert model.calibration.unit.spread == "change"
    usual = served(model, history)
    file = load_model(export_onnx(model, contract_of(model, history)))
    for known in (4, 13, 20, 30):
        late = panel_of([y[-known:] for y in made], season_length=12, freq="1")
        late = replace(late, ds=late.ds + 72 - known)
        assert 0.8 * usual < served(model, late) < (1.2 if known > 24 else 2.5) * usual
        inputs = tail_inputs(late, model.layout)
        np.testing.assert_allclose(file.run(inputs), model.quantiles(inputs), rtol=1e-4)

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import REFERENCES_ONLY, hourly

from mcp_forecast_engine.evaluation.adaptive import issue
from mcp_forecast_engine.evaluation.backtest import backtest
from mcp_forecast_engine.evaluation.plan import plan_for
from mcp_forecast_engine.evaluation.rolling import ArmRun
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Unit
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.export import export_onnx
from mcp_forecast_engine.models.spec import MEDIAN, QUANTILES, spec_for
from mcp_forecast_engine.models.table import MODELS


def walked(y_of_last_days: float | None = None) -> ArmRun:
    panel = replace(hourly(60), covariates={}, roles={}, categories={})
    if y_of_last_days is not None:
        late = np.arange(len(panel.y)) >= len(panel.y) - 48
        panel = replace(panel, y=np.where(late, y_of_last_days, panel.y))
    plan = plan_for(panel, 24)
    return backtest(panel, plan, REFERENCES_ONLY).run("target_only")


@pytest.fixture(scope="module")
def run() -> ArmRun:
    return walked()


def test_an_interval_is_issued_without_the_truth_it_is_scored_on_or_any_later_one(run: ArmRun) -> None:
    usual, odd = run, walked(500.0)
    for mine, theirs in zip(usual.issued.quantiles[:-1], odd.issued.quantiles[:-1], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert not np.array_equal(usual.issued.quantiles[-1], odd.issued.quantiles[-1])
    assert odd.intervals().widening > usual.intervals().widening


def test_intervals_widen_while_they_miss(run: ArmRun) -> None:
    wild = tuple(replace(step, truth=replace(step.truth, y=step.truth.y + 1e4)) for step in run.steps)
    calm, missed = (issue(steps, run.plan, plain=False) for steps in (run.steps, wild))
    assert calm.widening < missed.widening < 3.01


def test_a_window_whose_truth_was_not_observed_pushes_nothing(run: ArmRun) -> None:
    blind = [replace(s, truth=replace(s.truth, observed=np.zeros_like(s.truth.observed))) for s in run.steps]
    assert issue(blind, run.plan, plain=False).widening == 1.0


def test_offsets_for_another_hour_are_those_of_the_same_time_of_day() -> None:
    offsets = np.arange(24.0)[:, None] + np.linspace(-1, 1, len(QUANTILES))
    by_phase = Calibration(offsets, Unit("identity", "level"), phase=0).by_phase(24)
    assert by_phase.shape == (24, 24, len(QUANTILES))
    np.testing.assert_array_equal(by_phase[0], offsets)
    np.testing.assert_array_equal(by_phase[5][:, MEDIAN], (np.arange(24) + 5) % 24)
    assert Calibration(offsets, Unit("identity", "level"), phase=None).by_phase(24).shape == (1, 24, len(QUANTILES))


def test_a_model_fitted_for_some_phases_only_is_not_exported() -> None:
    panel = hourly(40)
    settings = {"transform": "identity", "aligned": True, "members": [[1.0, 1.0]]}
    path = MODELS["direct_ridge"].fit(panel, spec_for(panel, 24), settings, phases=np.array([0]))
    model = CalibratedModel(path, Calibration(np.zeros((24, len(QUANTILES))), Unit("identity", "level"), None))
    with pytest.raises(ValueError, match="every phase"):
        export_onnx(model, contract_of(model, panel))

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from forecast_toys import hourly, panel_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.windows import window_at
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Unit
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.direct_ridge import DirectRidge
from mcp_forecast_engine.models.examples import gather
from mcp_forecast_engine.models.export import export_onnx
from mcp_forecast_engine.models.features import inputs_at, tail_inputs
from mcp_forecast_engine.models.regression import FewRows, Moments, Ridge
from mcp_forecast_engine.models.ridge_recipe import Recipe
from mcp_forecast_engine.models.scaling import local_scale
from mcp_forecast_engine.models.spec import QUANTILES, ForecastSpec, spec_for
from mcp_forecast_engine.serving.session import load_model

ROLES = ("known_future", "historical")
SETTINGS: dict[str, dict[str, Any]] = {
    "asinh of each window, by phase": {"transform": "asinh", "aligned": True, "members": [[1.0, 0.1], [28.0, 1.0]]},
    "asinh of the training part": {"transform": "asinh", "units": "training", "aligned": True, "members": [[1.0, 0.1]]},
    "one spread, long lookback": {"units": "level", "lookback": 336, "members": [[1.0, 0.1]]},
    "weights of each series": {"local": 0.3, "members": [[1.0, 0.01]]},
    "spread of each series": {"units": "level", "lookback": 336, "members": [[1.0, 0.1]]},
    "level and spread of each series": {"transform": "asinh", "units": "training", "aligned": True},
    "weights and spread of each series": {"units": "level", "local": 0.3, "members": [[1.0, 0.01]]},
}


def several(days: int = 60, *, series: int = 3) -> Panel:
    draw = np.random.default_rng(5)
    hour = np.arange(24 * days)
    made = [
        (10 + 5 * k) * (1 + 0.5 * np.sin(2 * np.pi * hour / 24 + k)) + draw.normal(size=len(hour))
        for k in range(series)
    ]
    return panel_of(made, season_length=24)


def asked(panel: Panel, found: dict[str, Any], origin: NDArray[np.int64]) -> NDArray[np.float64]:
    path = DirectRidge.fit(window_at(panel, origin, 24).history, spec_of(panel), found)
    return path.point(inputs_at(panel, path.layout, np.arange(len(origin)), origin))


def spec_of(panel: Panel) -> ForecastSpec:
    return replace(spec_for(panel, 24, roles=ROLES), nonnegative=False)


@pytest.mark.parametrize("case", SETTINGS)
@pytest.mark.parametrize("batch", [1, 7, 256])
def test_the_file_answers_as_the_ridge_does_in_every_unit_and_batch_size(case: str, batch: int) -> None:
    panel = several() if "series" in case else hourly(60)
    path = DirectRidge.fit(panel, spec_of(panel), SETTINGS[case])
    plain = Calibration(np.zeros((24, len(QUANTILES))), Unit("identity", "level"), None)
    model = CalibratedModel(path, plain)
    session = load_model(export_onnx(model, contract_of(model, panel)))
    draw = np.random.default_rng(batch)
    series = draw.integers(0, len(panel.unique_id), batch)
    inputs = inputs_at(panel, path.layout, series, draw.integers(400, 24 * 59, batch))
    inputs = replace(inputs, series=np.where(draw.random(batch) < 0.3, -1, inputs.series))
    expected = path.point(inputs)
    np.testing.assert_allclose(
        session.run(inputs)[:, :, 5], expected, rtol=0, atol=1e-5 * float(np.abs(expected).mean())
    )


def test_fewer_windows_than_columns_give_the_same_weights_in_the_smaller_equations() -> None:
    draw = np.random.default_rng(2)
    x, z = draw.normal(size=(30, 50)) * draw.uniform(0.1, 5, 50) + 3, draw.normal(size=(30, 4))
    shares, spread = draw.uniform(0.1, 1, 50), draw.uniform(0.5, 3, 50)
    moments = Moments.empty(50, 4)
    moments.add(x, z)
    for penalty in (0.01, 1.0):
        for few, many in zip(
            FewRows(x, z, shares, spread).solve(penalty), Ridge(moments, shares, spread).solve(penalty), strict=True
        ):
            np.testing.assert_allclose(few, many, rtol=1e-8, atol=1e-10)


def test_windows_that_come_and_go_leave_the_sums_of_those_that_stayed() -> None:
    draw = np.random.default_rng(3)
    x, z = draw.normal(size=(90, 6)), draw.normal(size=(90, 2))
    moved, fresh = Moments.empty(6, 2), Moments.empty(6, 2)
    moved.add(x[:60], z[:60])
    moved.add(x[60:], z[60:])
    moved.add(x[:30], z[:30], sign=-1)
    fresh.add(x[30:], z[30:])
    for name in ("count", "total", "level", "gram", "cross"):
        np.testing.assert_allclose(getattr(moved, name), getattr(fresh, name), atol=1e-12)


@pytest.mark.parametrize("case", ["asinh of each window, by phase", "weights of each series", "spread of each series"])
def test_a_renewed_model_is_the_one_fitted_on_what_lies_before_its_origin(case: str) -> None:
    panel = several(80) if "series" in case else hourly(80)
    found, spec = SETTINGS[case], replace(spec_of(panel), known_future=(), historical=())
    origins = [np.full(len(panel.unique_id), 24 * day) for day in range(70, 80)]
    renewed = list(DirectRidge.recalibrate(panel, spec, found, origins))
    assert len(renewed) == len(origins)
    phase = np.array([0])
    for origin, path in zip(origins, renewed, strict=True):
        fresh = DirectRidge.fit(window_at(panel, origin, 0).history, spec, found, phases=phase)
        inputs = inputs_at(panel, path.layout, np.arange(len(origin)), np.minimum(origin, 24 * 79))
        np.testing.assert_allclose(path.point(inputs), fresh.point(inputs), rtol=0.02, atol=0.5)
    first = DirectRidge.fit(window_at(panel, origins[0], 0).history, spec, found, phases=phase)
    inputs = inputs_at(panel, first.layout, np.arange(len(origins[0])), origins[0])
    np.testing.assert_allclose(renewed[0].point(inputs), first.point(inputs), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", SETTINGS)
def test_no_renewed_model_moves_when_what_comes_after_its_origin_moves(case: str) -> None:
    panel = several(70) if "series" in case else hourly(70)
    spec, origins = spec_of(panel), [np.full(len(panel.unique_id), 24 * day) for day in (62, 63, 64)]
    later = np.arange(len(panel.y)) - np.repeat(panel.offsets[:-1], panel.lengths) >= 24 * 64
    moved = replace(
        panel,
        y=panel.y + 100.0 * later,
        covariates={name: values + 50.0 * later for name, values in panel.covariates.items()},
    )
    pairs = zip(*(DirectRidge.recalibrate(p, spec, SETTINGS[case], origins) for p in (panel, moved)), strict=True)
    for one, other in pairs:
        assert one.weights.tobytes() == other.weights.tobytes()
        assert one.low.tobytes() == other.low.tobytes()


def test_a_driver_that_leaves_its_known_range_is_followed_and_one_that_stays_costs_nothing() -> None:
    calm = hourly(80)
    step = np.arange(len(calm.y))
    origins = [np.array([24 * day]) for day in range(60, 80)]
    ranges = []
    for driver in (np.sin(step / 9), np.sin(step / 9) + 0.1 * np.maximum(step - 24 * 62, 0)):
        panel = replace(calm, covariates={**calm.covariates, "driver": driver})
        paths = DirectRidge.recalibrate(panel, spec_of(panel), {"members": [[1.0, 0.1]]}, origins)
        ranges.append([float(path.design.future.high.max()) for path in paths])
    known = float(np.sin(step / 9).max())
    assert ranges[0] == pytest.approx([known] * 20, abs=1e-3)
    assert ranges[1][:3] == ranges[0][:3]  # nothing is known of the drift before it began
    assert ranges[1] == sorted(ranges[1])
    assert ranges[1][-1] > 20 * known


def test_weights_by_phase_give_way_where_few_days_cannot_teach_what_a_driver_does() -> None:
    panel = hourly(120, seed=2)
    until = np.array([24 * 96])
    history = window_at(panel, until, 0).history
    origins = [until - 24 * back for back in range(24, 0, -1)]
    alone = DirectRidge.tune(history, replace(spec_of(history), known_future=(), historical=()), origins, {})
    driven = DirectRidge.tune(history, replace(spec_of(history), historical=()), origins, {})
    assert alone["aligned"] is True
    assert driven["aligned"] is False


def test_settings_are_chosen_without_a_look_behind_the_panels_end() -> None:
    panel = hourly(120)
    until = np.array([24 * 100])
    origins = [until - 24 * back for back in range(20, 0, -1)]
    history = window_at(panel, until, 0).history
    found = DirectRidge.tune(history, spec_of(history), origins, {})
    assert found == DirectRidge.tune(history, spec_of(history), origins, {})
    assert set(found) == set(Recipe().settings())
    assert DirectRidge.tune(history, spec_of(history), origins, {"units": "training"})["units"] == "training"


@settings(max_examples=8, deadline=None)
@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3), case=st.sampled_from(sorted(SETTINGS)))
def test_every_unit_follows_the_scale_and_the_shift_of_the_series(scale: float, shift: float, case: str) -> None:
    panel = several(40) if "series" in case else hourly(40)
    origin = np.full(len(panel.unique_id), 24 * 38)
    before, after = (asked(p, SETTINGS[case], origin) for p in (panel, replace(panel, y=panel.y * scale + shift)))
    spread = float(panel.y.std()) * scale
    np.testing.assert_allclose(after, before * scale + shift, rtol=0, atol=1e-6 * spread + 1e-9 * abs(shift))


def test_the_order_of_series_changes_no_forecast() -> None:
    panel = several(50)
    turned = replace(
        panel,
        unique_id=panel.unique_id[::-1],
        y=np.concatenate([panel.y[a:b] for a, b in zip(panel.offsets[:-1], panel.offsets[1:], strict=True)][::-1]),
    )
    for case in (name for name in SETTINGS if "series" in name or name == "asinh of each window, by phase"):
        origin = np.full(3, 24 * 48)
        one, other = (asked(p, SETTINGS[case], origin) for p in (panel, turned))
        np.testing.assert_allclose(one, other[::-1], rtol=0, atol=1e-6 * float(panel.y.std()))


def test_weights_of_their_own_fit_series_that_behave_differently_and_strangers_get_the_pooled_ones() -> None:
    draw = np.random.default_rng(4)
    series = []
    for k in range(6):
        y = np.zeros(600)
        for t in range(2, 600):
            y[t] = (0.9 if k % 2 else -0.9) * y[t - 1] + draw.normal()
        series.append(y + 20)
    panel = panel_of(series, season_length=1, freq="1")
    spec = spec_for(panel, 2)
    history = window_at(panel, panel.lengths - 2, 2).history
    errors = {}
    for name, found in (("own", {"local": 0.03}), ("pooled", {})):
        path = DirectRidge.fit(history, spec, {"members": [[1.0, 0.01]], **found})
        origins = np.arange(100, 598, 7)
        inputs = inputs_at(panel, path.layout, np.repeat(np.arange(6), len(origins)), np.tile(origins, 6))
        truth = np.stack([series[s][o : o + 2] for s in range(6) for o in origins])
        errors[name] = np.abs(path.point(inputs) - truth).mean()
        if name == "own":
            stranger = replace(inputs, series=np.full(len(inputs), -1))
            errors["stranger"] = np.abs(path.point(stranger) - truth).mean()
    assert errors["own"] < 0.9 * errors["pooled"]
    assert errors["stranger"] == pytest.approx(errors["pooled"], rel=0.02)


def test_asinh_holds_a_spike_back_and_comes_back_from_it() -> None:
    y = np.random.default_rng(1).normal(size=(1, 100))
    scale = local_scale(y, "asinh")
    spikes = np.array([[-500.0, 0.0, 300.0]])
    assert np.abs(scale.forward(spikes)).max() < 10
    np.testing.assert_allclose(scale.inverse(scale.forward(spikes)), spikes, rtol=1e-9, atol=1e-9)
    assert np.isfinite(scale.inverse(np.array([[1e6, -1e6]]))).all()


def test_ten_thousand_short_series_take_a_bounded_number_of_windows() -> None:
    draw = np.random.default_rng(0)
    panel = panel_of(list(draw.normal(size=(10_000, 60))), season_length=7, freq="1")
    found = gather(panel, spec_for(panel, 7), Recipe(), learn=panel.lengths, until=panel.lengths, phases=None)
    assert 20_000 < len(found.rows) <= 60_000
    assert len(np.unique(found.series)) == 10_000
    assert tail_inputs(panel, found.layout).series.max() == -1

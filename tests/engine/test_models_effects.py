from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import panel_of
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Unit
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.effects import Effects
from mcp_forecast_engine.models.effects_path import EffectsPath
from mcp_forecast_engine.models.export import export_onnx
from mcp_forecast_engine.models.features import Inputs, inputs_at, tail_inputs
from mcp_forecast_engine.models.spec import QUANTILES, ForecastSpec, spec_for
from mcp_forecast_engine.serving.session import load_model

Floats = NDArray[np.float64]

HORIZON = 12  # a season, over which its ups and downs cancel
WORTH = {10.0: 0.6, 20.0: 0.1}  # what a promotion adds, by the kind of shop
DEFAULTS: dict[str, object] = {
    "log": False, "harmonics": 2, "trend": True, "memory": 1.0, "likeness": 0.0, "ridge": 0.001, "own": 3.0,
}  # fmt: skip


def shops(series: int = 24, steps: int = 80, *, seed: int = 0) -> Panel:
    """Weekly-like sales with promotions, whose worth depends on the kind of shop; each on a level of its own."""
    draw = np.random.default_rng(seed)
    kind = [10.0 + 10.0 * (i % 2) for i in range(series)]
    promotion = [(draw.random(steps) < 0.2).astype(float) for _ in range(series)]
    level = np.exp(draw.normal(4, 1, series))
    found = []
    for i in range(series):
        shape = 1 + 0.3 * np.sin(2 * np.pi * np.arange(steps) / 12) + WORTH[kind[i]] * promotion[i]
        found.append(level[i] * shape * np.exp(0.05 * draw.normal(size=steps)))
    panel = panel_of(found, season_length=12, freq="1", known_future={"promotion": promotion}, static={"kind": kind})
    return ahead_of(panel, 0.0)


def ahead_of(panel: Panel, promotion: float) -> Panel:
    """The panel with a promotion, or none, at every step ahead."""
    shape = (len(panel.unique_id), HORIZON)
    return replace(panel, future={"promotion": np.full(shape, promotion)}, future_ds=np.zeros(shape, np.int64))


def spec_of(panel: Panel) -> ForecastSpec:
    return spec_for(panel, HORIZON, roles=("known_future", "static"))


def fitted(panel: Panel, **settings: object) -> EffectsPath:
    return Effects.fit(panel, spec_of(panel), {**DEFAULTS, **settings})


def worth(path: EffectsPath, panel: Panel) -> Floats:
    """What a promotion adds to each series' forecast, as a part of it."""
    with_it, without = (path.point(tail_inputs(ahead_of(panel, p), path.layout)).mean(axis=1) for p in (1.0, 0.0))
    return with_it / without - 1


@pytest.mark.parametrize("log", [False, True])
def test_a_promotion_is_worth_to_each_kind_of_shop_what_it_was_worth_there(log: bool) -> None:
    panel = shops()
    found = worth(fitted(panel, log=log), panel)
    assert np.abs(found[::2] - 0.6).max() < 0.12
    assert np.abs(found[1::2] - 0.1).max() < 0.08


def test_a_shop_that_was_never_seen_gets_the_effects_of_its_kind() -> None:
    panel = shops()
    path = fitted(panel)
    new = replace(panel, unique_id=tuple(f"new {name}" for name in panel.unique_id))
    found = worth(path, new)
    assert np.abs(found[::2] - 0.6).max() < 0.12
    assert np.abs(found[1::2] - 0.1).max() < 0.05
    unheard = replace(new, covariates={**new.covariates, "kind": new.covariates["kind"] + 5.0})
    between = worth(path, unheard)
    assert np.all((between > 0.2) & (between < 0.5))


def test_a_shop_with_few_weeks_keeps_to_its_kind() -> None:
    whole = shops(25)
    short = 8
    kept = np.arange(len(whole.y)) < len(whole.y) - 80 + short
    cut = replace(
        whole,
        offsets=np.append(whole.offsets[:-1], whole.offsets[-2] + short),
        ds=whole.ds[kept], y=whole.y[kept], observed=whole.observed[kept],
        covariates={name: values[kept] for name, values in whole.covariates.items()},
    )  # fmt: skip
    found = worth(fitted(cut), cut)
    assert abs(found[-1] - 0.6) < 0.2


def test_months_of_one_series_are_forecast_nearly_as_well_as_by_the_equation_that_made_them() -> None:
    draw, t = np.random.default_rng(7), np.arange(120)
    promotion = (draw.random(120) < 0.25).astype(float)
    truth = 200 + 1.5 * t + 40 * np.sin(2 * np.pi * t / 12) + 80 * promotion
    y = truth + draw.normal(0, 8, 120)
    panel = panel_of([y[:108]], season_length=12, freq="1", known_future={"promotion": [promotion[:108]]})
    panel = replace(panel, future={"promotion": promotion[None, 108:]}, future_ds=np.zeros((1, 12), np.int64))
    spec = spec_for(panel, 12, roles=("known_future",))
    settings = Effects.tune(panel, spec, [np.array([end]) for end in range(66, 97, 3)], {})
    path = Effects.fit(panel, spec, settings)
    found = path.point(tail_inputs(panel, path.layout))[0]
    assert np.abs(found - truth[108:]).mean() < 4.0
    assert settings["trend"]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("memory", [0.6, 1.0])
def test_the_file_answers_as_the_model_does_for_known_and_unknown_shops(log: bool, memory: float) -> None:
    panel = shops()
    path = fitted(panel, log=log, memory=memory)
    model = CalibratedModel(path, Calibration(np.zeros((HORIZON, len(QUANTILES))), Unit("identity", "level"), None))
    session = load_model(export_onnx(model, contract_of(model, panel)))
    inputs = tail_inputs(ahead_of(panel, 1.0), model.layout)
    inputs = changed(inputs, series=np.where(np.arange(len(inputs)) % 3 == 0, -1, inputs.series))
    inputs.static[1] = 99.0
    inputs.known[2] = 5
    expected, found = model.quantiles(inputs), session.run(inputs)
    assert np.all(np.abs(found - expected) <= 1e-5 * np.abs(expected).max(axis=(1, 2), keepdims=True))


def test_the_file_of_one_series_without_season_or_covariates_answers_too() -> None:
    panel = panel_of([10 + np.arange(30.0)], season_length=1, freq="1")
    path = Effects.fit(panel, spec_for(panel, HORIZON), {**DEFAULTS, "harmonics": 0})
    model = CalibratedModel(path, Calibration(np.zeros((HORIZON, len(QUANTILES))), Unit("identity", "level"), None))
    session = load_model(export_onnx(model, contract_of(model, panel)))
    inputs = tail_inputs(panel, model.layout)
    np.testing.assert_allclose(session.run(inputs), model.quantiles(inputs), rtol=1e-5)
    np.testing.assert_allclose(path.point(inputs)[0], 40 + np.arange(HORIZON), rtol=0.01)


@pytest.mark.parametrize("log", [False, True])
def test_scaling_the_series_scales_their_forecasts(log: bool) -> None:
    panel = shops()
    scaled = replace(panel, y=panel.y * 1e4)
    plain, larger = (fitted(one, log=log) for one in (panel, scaled))
    np.testing.assert_allclose(
        larger.point(tail_inputs(scaled, larger.layout)), 1e4 * plain.point(tail_inputs(panel, plain.layout)), rtol=1e-6
    )


def test_the_order_of_windows_changes_nothing() -> None:
    panel = shops()
    path = fitted(panel)
    inputs = tail_inputs(panel, path.layout)
    order = np.random.default_rng(0).permutation(len(inputs))
    np.testing.assert_allclose(path.point(inputs.take(order)), path.point(inputs)[order], rtol=1e-12)


def test_nothing_behind_the_origin_and_nothing_made_up_is_read() -> None:
    panel = shops()
    path = fitted(panel)
    at = (np.arange(24), np.full(24, 40))
    later = np.arange(len(panel.y)) % 80 >= 40
    changed_later = replace(panel, y=np.where(later, -1e6, panel.y))
    inputs = inputs_at(panel, path.layout, *at)
    plain = path.point(inputs)
    np.testing.assert_array_equal(path.point(inputs_at(changed_later, path.layout, *at)), plain)
    inputs.target[:, : path.layout.lookback - 40] = 1e6
    np.testing.assert_array_equal(path.point(inputs), plain)


def test_a_window_of_zeros_is_forecast_zero_and_a_flat_one_stays_near() -> None:
    panel = shops()
    path = fitted(panel, log=True)
    inputs = tail_inputs(panel, path.layout)
    inputs.target[0], inputs.target[1] = 0.0, 300.0
    found = path.point(inputs)
    np.testing.assert_array_equal(found[0], 0.0)
    assert np.all((found[1] > 150) & (found[1] < 600))


def test_every_window_may_have_a_fit_of_its_own_that_knows_only_what_was_before() -> None:
    panel = shops()
    origins = [np.full(24, 60), np.where(np.arange(24) < 3, -1, 70)]
    first, second = Effects.recalibrate(panel, spec_of(panel), DEFAULTS, origins)
    cut = replace(panel, y=np.where(np.arange(len(panel.y)) % 80 < 60, panel.y, 1e9))
    again, _ = Effects.recalibrate(cut, spec_of(panel), DEFAULTS, origins)
    np.testing.assert_array_equal(first.table, again.table)
    assert not np.array_equal(first.table, second.table)


def test_two_rows_are_too_few() -> None:
    panel = panel_of([np.array([1.0, 2.0])], season_length=1, freq="1")
    with pytest.raises(HistoryTooShort):
        Effects.fit(panel, spec_for(panel, 1), DEFAULTS)


def changed(inputs: Inputs, **values: NDArray[np.int64]) -> Inputs:
    return replace(inputs, **values)  # type: ignore[arg-type]  # one of its arrays by name

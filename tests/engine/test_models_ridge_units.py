from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import hourly, panel_of

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.windows import window_at
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Unit
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.direct_ridge import DirectRidge
from mcp_forecast_engine.models.export import export_onnx
from mcp_forecast_engine.models.features import inputs_at, tail_inputs
from mcp_forecast_engine.models.regression import FewRows
from mcp_forecast_engine.models.ridge_fits import Neighbours
from mcp_forecast_engine.models.ridge_recipe import units_to_try
from mcp_forecast_engine.models.scaling import Yardstick, local_scale
from mcp_forecast_engine.models.spec import QUANTILES, spec_for
from mcp_forecast_engine.serving.session import load_model

LEVEL = {"units": "level", "members": [[1.0, 0.1]]}


def unlike(days: int = 50) -> Panel:
    """Three series of very different size."""
    draw = np.random.default_rng(8)
    hour = np.arange(24 * days)
    wave = np.sin(2 * np.pi * hour / 24)
    return panel_of(
        [size * (5 + wave + 0.3 * draw.normal(size=len(hour)).cumsum() / 10) for size in (1, 40, 900)],
        season_length=24,
    )


def test_a_constant_is_that_of_the_windows_series_and_a_stranger_is_measured() -> None:
    target = np.random.default_rng(0).normal(size=(4, 48))
    yard = Yardstick(level=np.array([5.0, 6.0]), spread=np.array([2.0, 3.0]))
    scale = local_scale(target, "identity", yard, np.array([1, 0, -1, 1]))
    np.testing.assert_array_equal(scale.spread[[0, 1, 3], 0], [3.0, 2.0, 3.0])
    np.testing.assert_array_equal(scale.level[[0, 1, 3], 0], [6.0, 5.0, 6.0])
    own = local_scale(target[2:3], "identity")
    assert scale.level[2, 0] == own.level[0, 0]
    assert scale.spread[2, 0] == own.spread[0, 0]


def test_units_of_each_series_need_to_know_the_series() -> None:
    yard = Yardstick(spread=np.array([2.0, 3.0]))
    with pytest.raises(ValueError, match="say of which series"):
        local_scale(np.ones((2, 5)), "identity", yard)


def test_a_large_series_does_not_drown_a_small_one() -> None:
    panel = unlike()
    history = window_at(panel, panel.lengths - 24, 24).history
    spec = replace(spec_for(panel, 24), nonnegative=False)
    small, errors = panel.y[: panel.offsets[1]], {}
    for name, alone in (
        ("together", history),
        ("alone", window_at(panel_of([small], season_length=24), np.array([len(small) - 24]), 24).history),
    ):
        path = DirectRidge.fit(alone, spec, LEVEL)
        found = path.point(tail_inputs(alone, path.layout))[0]
        errors[name] = float(np.abs(found - small[-24:]).mean())
    assert errors["together"] < 1.5 * errors["alone"]


def test_scaling_and_shifting_one_series_moves_its_forecast_alone() -> None:
    panel = unlike()
    spec = replace(spec_for(panel, 24), nonnegative=False)
    third = slice(panel.offsets[2], panel.offsets[3])
    y = panel.y.copy()
    y[third] = 0.01 * y[third] - 70
    found = []
    for history in (panel, replace(panel, y=y)):
        path = DirectRidge.fit(history, spec, LEVEL)
        found.append(path.point(tail_inputs(history, path.layout)))
    before, after = found
    spread = np.array([panel.y[a:b].std() for a, b in zip(panel.offsets[:-1], panel.offsets[1:], strict=True)])
    np.testing.assert_allclose(after[:2], before[:2], rtol=0, atol=1e-6 * spread[:2, None].max())
    np.testing.assert_allclose(after[2], 0.01 * before[2] - 70, rtol=0, atol=1e-6 * spread[2])


def test_a_stranger_is_forecast_by_the_file_as_by_the_model_and_near_the_series_it_equals() -> None:
    panel = unlike()
    path = DirectRidge.fit(panel, replace(spec_for(panel, 24), nonnegative=False), LEVEL)
    inputs = inputs_at(panel, path.layout, np.arange(3), np.full(3, 24 * 45))
    stranger = replace(inputs, series=np.full(3, -1))
    known, unknown = path.point(inputs), path.point(stranger)
    spread = np.array([panel.y[a:b].std() for a, b in zip(panel.offsets[:-1], panel.offsets[1:], strict=True)])
    assert (np.abs(known - unknown).mean(axis=1) < 0.2 * spread).all()
    model = CalibratedModel(path, Calibration(np.zeros((24, len(QUANTILES))), Unit("identity", "level"), None))
    session = load_model(export_onnx(model, contract_of(model, panel)))
    for asked, expected in ((inputs, known), (stranger, unknown)):
        answered = session.run(asked)[:, :, 5]
        np.testing.assert_allclose(
            answered, expected, rtol=1e-5, atol=1e-5 * float(np.abs(expected).mean(axis=1).min())
        )


@pytest.mark.parametrize("units", ["level", "training"])
def test_a_model_of_one_series_serves_another_one_in_its_own_units(units: str) -> None:
    panel = unlike()
    first = panel_of([panel.y[: panel.offsets[1]]], season_length=24)
    recipe = {"units": units, "transform": "asinh", "members": [[1.0, 0.1]]}
    path = DirectRidge.fit(first, replace(spec_for(first, 24), nonnegative=False), recipe)
    large = replace(first, y=900 * first.y - 70, unique_id=("another",))
    own, other = tail_inputs(first, path.layout), tail_inputs(large, path.layout)
    assert (own.series, other.series) == (0, -1)
    unnamed = path.point(replace(own, series=other.series))
    np.testing.assert_allclose(path.point(other), 900 * unnamed - 70, rtol=1e-9)
    assert np.abs(unnamed - path.point(own)).mean() < first.y.std()
    model = CalibratedModel(path, Calibration(np.zeros((24, len(QUANTILES))), Unit("identity", "level"), None))
    session = load_model(export_onnx(model, contract_of(model, first)))
    for asked in (own, other):
        np.testing.assert_allclose(session.run(asked)[:, :, 5], path.point(asked), rtol=1e-5)


def test_constants_of_each_series_are_tried_where_histories_are_long_and_files_stay_small() -> None:
    spec = spec_for(hourly(120), 24)
    window = ("identity", "window")
    assert ("identity", "level") in units_to_try(spec, np.full(7, 5_000), {})
    assert ("identity", "level") not in units_to_try(spec, np.full(7, 300), {})
    assert ("identity", "level") not in units_to_try(spec, np.full(10_000, 5_000), {})
    assert ("asinh", "training") in units_to_try(spec, np.full(1, 5_000), {})
    assert ("asinh", "training") not in units_to_try(spec, np.full(7, 5_000), {})
    assert units_to_try(spec, np.full(7, 5_000), {"transform": "identity", "units": "window"}) == [window]


def test_fits_from_shared_products_answer_as_those_on_their_own_windows() -> None:
    draw = np.random.default_rng(2)
    x, z = draw.normal(size=(40, 60)) * draw.uniform(0.1, 5, 60) + 3, draw.normal(size=(40, 4))
    asked, shares = draw.normal(size=(5, 60)) + 3, draw.uniform(0.1, 1, 60)
    members = draw.random(40) < 0.8
    answer = Neighbours(x, members, shares, asked).fitted(members, z[members], np.arange(5))
    weights, bias = FewRows(x[members], z[members], shares).solve(0.3)
    np.testing.assert_allclose(answer(0.3), asked @ weights + bias, rtol=1e-8, atol=1e-10)

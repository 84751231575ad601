from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from forecast_toys import panel_of
from numpy.typing import NDArray
from onnx import TensorProto

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.evaluation.windows import window_at
from mcp_forecast_engine.models.features import Inputs, inputs_at, tail_inputs
from mcp_forecast_engine.models.graph import Graph, Ports
from mcp_forecast_engine.models.profile_path import ProfilePath
from mcp_forecast_engine.models.seasonal_profiles import SeasonalProfiles
from mcp_forecast_engine.models.spec import ForecastSpec, spec_for
from mcp_forecast_engine.models.static_groups import grouping_by, useful

Floats = NDArray[np.float64]


def shops(series: int = 40, steps: int = 110, *, season: int = 26, noise: float = 0.4, seed: int = 0) -> Panel:
    """Weekly-like sales of a few kinds of goods in two regions: the kind decides the shape of the season."""
    draw = np.random.default_rng(seed)
    kind, region = np.arange(series) % 4, np.arange(series) // 4 % 2
    shape = 1 + 0.6 * np.sin(2 * np.pi * (np.arange(season) / season + np.arange(4)[:, None] / 4))
    level = np.exp(draw.normal(3, 1, series))
    lengths = steps - (np.arange(series) % 5 == 4) * 30
    found = []
    for i in range(series):
        t = np.arange(steps - lengths[i], steps)
        growth = 1 + 0.003 * t * (1 + region[i])
        found.append(level[i] * growth * shape[kind[i], t % season] * np.exp(noise * draw.normal(size=lengths[i])))
    return panel_of(
        found,
        season_length=season,
        freq="1",
        static={"kind": list(10.0 + kind), "region": list(region + 0.0), "size": list(draw.normal(size=series))},
    )


def spec_of(panel: Panel, horizon: int = 20) -> ForecastSpec:
    return spec_for(panel, horizon, roles=("static",))


def fitted(panel: Panel, horizon: int = 20) -> ProfilePath:
    spec = spec_of(panel, horizon)
    return SeasonalProfiles.fit(panel, spec, SeasonalProfiles.tune(panel, spec, [], {}))


def forecast(panel: Panel) -> Floats:
    path = fitted(panel)
    return path.point(tail_inputs(panel, path.layout))


def run(path: ProfilePath, inputs: Inputs) -> Floats:
    graph, layout = Graph(), path.layout
    ports = Ports(
        target=graph.input("target", ("batch", layout.lookback)),
        known=graph.input("known", ("batch",), TensorProto.INT64),
        static=graph.input("static", ("batch", len(layout.static))) if layout.static else "",
        phase=graph.input("phase", ("batch",), TensorProto.INT64),
    )
    graph.output("path", graph.cast(path.write(graph, ports), TensorProto.FLOAT), ("batch", layout.horizon))
    session = onnxruntime.InferenceSession(graph.model("m", {}))
    every = {
        "target": inputs.target.astype(np.float32),
        "static": inputs.static.astype(np.float32),
        "phase": inputs.phase,
        "known": inputs.known,
    }
    (found,) = session.run(None, {part.name: every[part.name] for part in session.get_inputs()})
    return np.asarray(found, np.float64)


def test_series_of_one_group_share_the_shape_of_their_season() -> None:
    whole = shops(noise=0.6)
    history = window_at(whole, whole.lengths - 20, 20).history
    chosen = SeasonalProfiles.tune(history, spec_of(history), [history.lengths - 20], {})
    assert chosen["groups"][0] == ["kind"]
    truth = whole.y[(whole.offsets[1:] - 20)[:, None] + np.arange(20)]
    errors = []
    for groups in ([["kind"]], []):
        path = SeasonalProfiles.fit(history, spec_of(history), {**chosen, "groups": groups})
        errors.append(np.abs(path.point(tail_inputs(history, path.layout)) / truth - 1).mean())
    naive = truth * 0 + history.y[(history.offsets[1:] - 26)[:, None] + np.arange(20)]
    assert errors[0] < errors[1] < np.abs(naive / truth - 1).mean()


@pytest.mark.parametrize("batch", [1, 7, 256])
@pytest.mark.parametrize(("horizon", "season"), [(20, 26), (40, 26), (5, 7), (3, 1)])
def test_the_graph_of_a_profile_answers_as_the_model_does(batch: int, horizon: int, season: int) -> None:
    panel = shops(steps=4 * season + 40, season=season)
    path = fitted(panel, horizon)
    draw = np.random.default_rng(1)
    series = draw.integers(0, len(panel.unique_id), batch)
    origin = np.minimum(draw.integers(season, panel.lengths.max(), batch), panel.lengths[series] - horizon)
    inputs = inputs_at(panel, path.layout, series, origin)
    strange = replace(inputs, static=inputs.static + (draw.random(inputs.static.shape) < 0.3) * 99.0)
    for case in (inputs, strange):
        found, expected = run(path, case), path.point(case)
        assert np.abs(found - expected).max() / np.abs(expected).mean() < 1e-5


def test_scaling_a_series_scales_its_forecast_and_no_other() -> None:
    panel = shops()
    path = fitted(panel)
    inputs = tail_inputs(panel, path.layout)
    factor = np.exp(np.random.default_rng(2).normal(0, 4, (len(inputs), 1)))
    moved = path.point(replace(inputs, target=inputs.target * factor))
    np.testing.assert_allclose(moved, path.point(inputs) * factor, rtol=1e-9)
    everything = replace(panel, y=panel.y * np.repeat(factor[:, 0], panel.lengths))
    np.testing.assert_allclose(forecast(everything), forecast(panel) * factor, rtol=1e-6)


def test_the_order_of_series_and_of_columns_changes_nothing() -> None:
    panel = shops()
    order = np.random.default_rng(3).permutation(len(panel.unique_id))
    rows = np.concatenate([np.arange(panel.offsets[i], panel.offsets[i + 1]) for i in order])
    moved = replace(
        panel,
        offsets=np.concatenate([[0], np.cumsum(panel.lengths[order])]),
        y=panel.y[rows],
        ds=panel.ds[rows],
        observed=panel.observed[rows],
        covariates={name: panel.covariates[name][rows] for name in reversed(panel.covariates)},
    )
    expected = forecast(panel)
    np.testing.assert_allclose(forecast(moved), expected[order], rtol=1e-7)
    turned = replace(spec_of(panel), static=("size", "region", "kind"))
    path = SeasonalProfiles.fit(panel, turned, SeasonalProfiles.tune(panel, turned, [], {}))
    np.testing.assert_allclose(path.point(tail_inputs(panel, path.layout)), expected, rtol=1e-9)


def test_nothing_after_the_validation_windows_origin_is_learned_from() -> None:
    panel = shops()
    spec = spec_of(panel)
    cut = window_at(panel, panel.lengths - 20, 20).history
    later = replace(panel, y=np.where(np.arange(len(panel.y)) % 3 == 0, panel.y * 50, panel.y))
    spoilt = window_at(replace(panel, y=np.where(behind(panel, 20), later.y, panel.y)), panel.lengths - 20, 20).history
    settings = {"seasons": 4, "groups": [["kind"]]}
    first, second = (SeasonalProfiles.fit(one, spec, settings) for one in (cut, spoilt))
    assert first.weights.shape.tobytes() == second.weights.shape.tobytes()
    assert first.tables[0].tobytes() == second.tables[0].tobytes()


def behind(panel: Panel, steps: int) -> NDArray[np.bool_]:
    place = np.arange(len(panel.y)) - np.repeat(panel.offsets[:-1], panel.lengths)
    return np.asarray(place >= np.repeat(panel.lengths, panel.lengths) - steps)


def test_a_window_is_forecast_the_same_in_any_company() -> None:
    panel = shops()
    path = fitted(panel)
    inputs = tail_inputs(panel, path.layout)
    alone = np.concatenate([path.point(inputs.take(slice(i, i + 1))) for i in range(len(inputs))])
    np.testing.assert_allclose(alone, path.point(inputs), rtol=1e-12)


def test_series_without_static_columns_pool_with_nobody() -> None:
    panel = shops()
    plain = replace(panel, covariates={}, roles={})
    path = fitted(plain)
    assert path.groupings == ()
    assert np.isfinite(path.point(tail_inputs(plain, path.layout))).all()


def test_intermittent_zero_and_negative_series_get_finite_forecasts() -> None:
    draw = np.random.default_rng(5)
    rare = [np.where(draw.random(120) < 0.1, draw.poisson(3, 120) + 1.0, 0.0) for _ in range(10)]
    panel = panel_of([*rare, np.zeros(120), -5 - draw.random(120)], season_length=12, freq="1")
    found = forecast(panel)
    assert np.isfinite(found).all()
    assert (found[10] == 0).all()
    assert (found[11] < 0).all()
    assert (forecast(panel_of(rare, season_length=12, freq="1")) >= 0).all()


def test_a_new_series_of_a_known_group_takes_the_groups_shape() -> None:
    panel = shops(noise=0.8)
    path = fitted(panel)
    inputs = tail_inputs(panel, path.layout).take(slice(0, 1))
    flat = replace(inputs, target=np.full_like(inputs.target, 100.0))
    other = replace(flat, static=flat.static + (np.array(path.layout.static) == "kind"))
    first, second = path.point(flat)[0], path.point(other)[0]
    assert np.corrcoef(first, second)[0, 1] < 0.5
    assert first.std() > 3


def test_less_than_a_season_is_refused_with_the_rows_needed() -> None:
    panel = panel_of([np.arange(20.0)], season_length=52, freq="1")
    with pytest.raises(HistoryTooShort, match="whole season of 52"):
        SeasonalProfiles.fit(panel, spec_for(panel, 4), {"seasons": 1, "groups": []})


@pytest.mark.parametrize("steps", [26, 30, 40, 60, 200])
def test_one_season_or_many_give_a_forecast(steps: int) -> None:
    panel = shops(steps=steps + 30)
    found = forecast(panel)
    assert found.shape == (40, 20)
    assert np.isfinite(found).all()


def test_two_fits_of_a_profile_are_equal_bit_for_bit() -> None:
    panel = shops()
    first, second = (fitted(panel) for _ in range(2))
    for name in ("shape", "now", "later"):
        assert getattr(first.weights, name).tobytes() == getattr(second.weights, name).tobytes()


def test_groups_that_name_single_series_are_of_no_use() -> None:
    static = np.stack([np.arange(12.0), np.arange(12.0) % 3, np.ones(12)], axis=1)
    assert [useful([i], static) for i in range(3)] == [False, True, False]
    grouping = grouping_by([1, 2], static)
    np.testing.assert_array_equal(grouping.of(np.array([[0.0, 2.0, 1.0], [0.0, 2.0, 5.0], [0.0, 1.6, 1.0]])), [2, 3, 2])

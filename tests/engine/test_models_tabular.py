from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from forecast_toys import MONDAY, panel_of
from numpy.typing import NDArray
from onnx import TensorProto

from mcp_forecast_engine.data.frame import Panel, TimeAxis
from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.evaluation.windows import window_at
from mcp_forecast_engine.models.direct_ridge import DirectRidge
from mcp_forecast_engine.models.features import Inputs, inputs_at, tail_inputs
from mcp_forecast_engine.models.graph import Graph, Ports
from mcp_forecast_engine.models.spec import ForecastSpec, spec_for
from mcp_forecast_engine.models.tabular import Tabular
from mcp_forecast_engine.models.tabular_path import TabularPath
from mcp_forecast_engine.models.tree_ensemble import ensemble_of

pytest.importorskip("lightgbm", reason="the extra boost is not installed")

Floats = NDArray[np.float64]
DAY = 86_400
HORIZON = 14


def shops(series: int = 24, days: int = 420, *, seed: int = 0) -> Panel:
    """Daily sales: the kind of a shop decides its week and what a promotion does; some are closed on Sundays."""
    draw = np.random.default_rng(seed)
    kind, t = np.arange(series) % 3, np.arange(days)
    week = np.array([[1.2, 1, 1, 1, 1.1, 1.3, 0.0], [1, 1, 1, 1, 1.2, 1.5, 1.3], [1, 1, 0.8, 1, 1.4, 1.6, 0.5]])
    promotion = [((t // 7 + i % 5) % 3 == 0) & (t % 7 < 5) for i in range(series)]
    lift = np.array([1.8, 1.1, 1.4])
    level = np.exp(draw.normal(5, 0.8, series))
    temperature = 10 - 9 * np.cos(2 * np.pi * t / 365.25) + draw.normal(0, 2, days)
    found = []
    for i, k in enumerate(kind):
        mean = level[i] * week[k][t % 7] * np.where(promotion[i], lift[k], 1.0) * (1 + 0.01 * temperature * (k == 1))
        found.append(np.round(mean * np.exp(draw.normal(0, 0.08, days))))
    panel = panel_of(
        found,
        season_length=7,
        freq="1",
        known_future={
            "promotion": [p.astype(float) for p in promotion],
            "temperature": [temperature] * series,
        },
        historical={"visitors": [y / 3 + draw.normal(0, 1, days) for y in found]},
        static={"kind": list(kind + 0.0), "size": list(draw.normal(size=series))},
    )
    ds = np.tile(MONDAY + DAY * t, series)
    return replace(panel, ds=ds, axis=TimeAxis("calendar", "D"))


ROLES = ("known_future", "historical", "static")
SETTINGS = {"seasons": 4, "groups": [["kind"]], "transform": "identity", "trees": 25}


def spec_of(panel: Panel, roles: tuple[str, ...] = ROLES) -> ForecastSpec:
    return spec_for(panel, HORIZON, roles=roles)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return shops()


@pytest.fixture(scope="module")
def path(panel: Panel) -> TabularPath:
    return Tabular.fit(panel, spec_of(panel), SETTINGS)


def ending(panel: Panel, steps: int) -> Panel:
    """What was seen `steps` before the end, with the future of the covariates."""
    return window_at(panel, panel.lengths - steps, HORIZON).history


def run(path: TabularPath, inputs: Inputs) -> Floats:
    graph, layout = Graph(), path.layout
    ports = Ports(
        target=graph.input("target", ("batch", layout.lookback)),
        known=graph.input("known", ("batch",), TensorProto.INT64),
        cov_hist=graph.input("cov_hist", ("batch", layout.past, len(layout.cov_hist))) if layout.cov_hist else "",
        cov_future=graph.input("cov_future", ("batch", layout.horizon, len(layout.known_future)))
        if layout.known_future
        else "",
        calendar=graph.input("calendar", ("batch", len(layout.calendar))) if layout.calendar else "",
        static=graph.input("static", ("batch", len(layout.static))) if layout.static else "",
        phase=graph.input("phase", ("batch",), TensorProto.INT64),
    )
    graph.output("path", graph.cast(path.write(graph, ports), TensorProto.FLOAT), ("batch", layout.horizon))
    session = onnxruntime.InferenceSession(graph.model("m", {}))
    every = {
        name: getattr(inputs, name).astype(np.float32)
        for name in ("target", "cov_hist", "cov_future", "calendar", "static")
    } | {"phase": inputs.phase, "known": inputs.known}
    (found,) = session.run(None, {part.name: every[part.name] for part in session.get_inputs()})
    return np.asarray(found, np.float64)


@pytest.mark.parametrize(("roles", "transform"), [(ROLES, "identity"), (("known_future",), "log"), ((), "identity")])
def test_the_graph_of_the_trees_answers_as_the_model_does_at_every_batch_size(
    panel: Panel, roles: tuple[str, ...], transform: str
) -> None:
    groups = [["kind"]] if "static" in roles else []
    model = Tabular.fit(
        panel, spec_of(panel, roles), {**SETTINGS, "groups": groups, "transform": transform, "trees": 12}
    )
    draw = np.random.default_rng(1)
    assert model.point(inputs_at(panel, model.layout, np.zeros(0, np.int64), np.zeros(0, np.int64))).shape == (
        0,
        HORIZON,
    )
    for batch in (1, 7, 256):
        series = draw.integers(0, len(panel.unique_id), batch)
        inputs = inputs_at(panel, model.layout, series, draw.integers(8, 400, batch))
        strange = replace(
            inputs,
            static=inputs.static + (draw.random(inputs.static.shape) < 0.3) * 99.0,
            target=np.where(np.arange(batch)[:, None] % 5 == 4, 3.0, inputs.target),
        )
        for case in (inputs, strange):
            found, expected = run(model, case), model.point(case)
            assert np.abs(found - expected).max() / np.abs(expected).mean() < 1e-5


def test_numpy_walks_the_trees_as_lightgbm_does() -> None:
    import lightgbm

    draw = np.random.default_rng(0)
    rows = np.round(draw.normal(size=(3_000, 5)), 2).astype(np.float32)
    target = rows[:, 0] * (rows[:, 1] > 0) + draw.normal(size=3_000) * 0.1
    booster = lightgbm.train(
        {"verbosity": -1, "num_threads": 1, "use_missing": False}, lightgbm.Dataset(rows, target), 30
    )
    found = ensemble_of(booster.dump_model()).sum(rows)
    np.testing.assert_allclose(found, booster.predict(rows), rtol=1e-6, atol=1e-6)


def test_promotions_that_differ_by_kind_are_learned_better_than_by_a_ridge() -> None:
    panel = shops(days=500)
    history = ending(panel, HORIZON)
    spec = spec_of(panel, ("known_future", "static"))
    truth = panel.y[(panel.offsets[1:] - HORIZON)[:, None] + np.arange(HORIZON)]
    origins = [history.lengths - 2 * HORIZON, history.lengths - HORIZON]
    errors = {}
    for family in (Tabular, DirectRidge):
        settings = family.tune(history, spec, origins, {"trees": 80} if family is Tabular else {})
        model = family.fit(history, spec, settings)
        errors[family.family] = np.abs(model.point(tail_inputs(history, model.layout)) - truth).sum() / truth.sum()
    assert errors["tabular"] < 0.9 * errors["direct_ridge"]
    assert errors["tabular"] < 0.12


def test_a_promotion_lifts_the_forecast_where_it_lifted_sales(panel: Panel) -> None:
    model = Tabular.fit(panel, spec_of(panel), {**SETTINGS, "trees": 60})
    history = ending(panel, HORIZON)
    inputs = tail_inputs(history, model.layout)
    place = model.layout.known_future.index("promotion")
    on, off = (inputs.cov_future.copy() for _ in range(2))
    on[:, :, place], off[:, :, place] = 1.0, 0.0
    paths = [model.point(replace(inputs, cov_future=ahead))[:, :5].mean(axis=1) for ahead in (on, off)]
    lift = (paths[0] / paths[1]).reshape(-1, 3).mean(axis=0)
    assert lift[0] > lift[2] > lift[1]
    assert abs(lift[0] - 1.8) < 0.3


def test_doubling_a_series_doubles_its_forecast(panel: Panel, path: TabularPath) -> None:
    inputs = tail_inputs(ending(panel, HORIZON), path.layout)
    for factor in (0.25, 1024.0):
        np.testing.assert_array_equal(
            path.point(replace(inputs, target=inputs.target * factor)), path.point(inputs) * factor
        )


def test_scaling_and_shifting_moves_the_forecast_along(panel: Panel, path: TabularPath) -> None:
    inputs = tail_inputs(ending(panel, HORIZON), path.layout)
    spread = inputs.target.std(axis=1, keepdims=True)
    found = path.point(replace(inputs, target=inputs.target * 1.7 + 40.0))
    gap = np.abs(found - (path.point(inputs) * 1.7 + 40.0)) / spread
    # A value that rounds to the other side of a threshold takes another leaf: rare, and then a small step.
    assert np.mean(gap > 1e-4) < 0.01
    assert gap.max() < 0.2


def test_the_order_of_series_and_columns_decides_nothing_of_the_trees(panel: Panel, path: TabularPath) -> None:
    order = np.random.default_rng(3).permutation(len(panel.unique_id))
    rows = np.concatenate([np.arange(panel.offsets[i], panel.offsets[i + 1]) for i in order])
    moved = replace(
        panel,
        unique_id=tuple(panel.unique_id[i] for i in order),
        offsets=np.concatenate([[0], np.cumsum(panel.lengths[order])]),
        y=panel.y[rows],
        ds=panel.ds[rows],
        observed=panel.observed[rows],
        covariates={name: panel.covariates[name][rows] for name in reversed(panel.covariates)},
    )
    spec = spec_of(panel)
    turned = replace(spec, known_future=spec.known_future[::-1], static=spec.static[::-1])
    again = Tabular.fit(moved, turned, SETTINGS)
    assert again.layout == path.layout
    expected = path.point(tail_inputs(ending(panel, HORIZON), path.layout))
    found = again.point(tail_inputs(ending(moved, HORIZON), again.layout))
    np.testing.assert_allclose(found, expected[order], rtol=1e-9)


def test_trees_learn_nothing_from_behind_the_cut(panel: Panel) -> None:
    spoilt = panel.y.copy()
    spoilt.reshape(24, -1)[:, -HORIZON:] *= 50
    covariates = dict(panel.covariates) | {"visitors": panel.covariates["visitors"] * np.where(spoilt == panel.y, 1, 9)}
    later = replace(panel, y=spoilt, covariates=covariates)
    first, second = (Tabular.fit(ending(one, HORIZON), spec_of(panel), SETTINGS) for one in (panel, later))
    assert first.trees.value.tobytes() == second.trees.value.tobytes()
    assert first.tables[0].tobytes() == second.tables[0].tobytes()


def test_a_window_of_trees_is_forecast_the_same_in_any_company(panel: Panel, path: TabularPath) -> None:
    inputs = tail_inputs(ending(panel, HORIZON), path.layout)
    alone = np.concatenate([path.point(inputs.take(slice(i, i + 1))) for i in range(len(inputs))])
    np.testing.assert_array_equal(alone, path.point(inputs))


def test_the_number_of_trees_is_chosen_on_the_validation_windows() -> None:
    small = shops(series=6, days=200)
    spec = spec_of(small)
    found = Tabular.tune(small, spec, [small.lengths - HORIZON], {"groups": [["kind"]]})
    assert found["groups"] == [["kind"]]
    assert 5 < found["trees"] <= 200
    assert Tabular.tune(small, spec, [small.lengths - HORIZON], {"groups": [], "trees": 7})["trees"] == 7


def test_intermittent_and_constant_series_get_finite_forecasts_of_trees() -> None:
    draw = np.random.default_rng(5)
    rare = [np.where(draw.random(120) < 0.1, draw.poisson(3, 120) + 1.0, 0.0) for _ in range(10)]
    panel = panel_of([*rare, np.zeros(120), np.full(120, 7.0)], season_length=12, freq="1")
    spec = spec_for(panel, 6)
    model = Tabular.fit(panel, spec, Tabular.tune(panel, spec, [panel.lengths - 6], {}))
    found = model.point(tail_inputs(panel, model.layout))
    assert np.isfinite(found).all()


def test_a_history_of_one_season_is_refused_by_the_trees() -> None:
    panel = panel_of([np.arange(20.0)], season_length=20, freq="1")
    with pytest.raises(HistoryTooShort, match="more than a season of 20"):
        Tabular.fit(panel, spec_for(panel, 4), {"seasons": 1, "groups": [], "transform": "identity", "trees": 5})

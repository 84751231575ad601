from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forecast_toys import REFERENCES_ONLY, panel_of
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.evaluation.backtest import backtest, fit_arm
from mcp_forecast_engine.evaluation.plan import plan_for
from mcp_forecast_engine.models.calibration import CalibratedModel, Calibration, Unit
from mcp_forecast_engine.models.contract import contract_of
from mcp_forecast_engine.models.direct_ridge import DirectRidge
from mcp_forecast_engine.models.export import export_onnx
from mcp_forecast_engine.models.features import tail_inputs
from mcp_forecast_engine.models.graph import Graph
from mcp_forecast_engine.models.network_units import Bend, Scale, units_for
from mcp_forecast_engine.models.scaling import Stillness, Transform, Yardstick, local_scale
from mcp_forecast_engine.models.spec import MEDIAN, QUANTILES, spec_for
from mcp_forecast_engine.models.windows import earlier_targets
from mcp_forecast_engine.serving.session import load_model

Floats = NDArray[np.float64]
SEASON, STEPS, HORIZON = 12, 96, 12
EFFECT = 30.0
HIGH = QUANTILES.index(0.9)


def usual(draw: np.random.Generator) -> Floats:
    t = np.arange(STEPS)
    return np.asarray(100 + 20 * np.sin(2 * np.pi * t / SEASON) + 5 * draw.normal(size=STEPS), np.float64)


def strange(kind: str, draw: np.random.Generator) -> Floats:
    y, t = usual(draw), np.arange(STEPS)
    tail, middle = slice(STEPS - 2 * SEASON - 1, None), STEPS // 2
    if kind == "flat tail":
        y[tail] = 90
    elif kind == "nearly flat tail":
        y[tail] = 90 + 0.001 * (t[tail] % 2)
    elif kind == "tail of zeros":
        y[tail] = 0
    elif kind == "season of zeros":
        y[middle : middle + SEASON] = 0
    elif kind == "late season of zeros":
        y[-SEASON - SEASON // 2 : -SEASON // 2] = 0
    elif kind == "first season after zeros":
        y[:-SEASON] = 0
    elif kind == "step":
        y[middle:] += 300
    elif kind == "spikes":
        y[draw.random(STEPS) < 0.04] *= 8
    elif kind == "mostly zeros":
        y = np.where(draw.random(STEPS) < 0.8, 0, draw.poisson(3, STEPS)).astype(float)
    elif kind == "around zero":
        y -= 100
    return y


KINDS = (
    "usual",
    "flat tail",
    "nearly flat tail",
    "tail of zeros",
    "season of zeros",
    "late season of zeros",
    "first season after zeros",
    "step",
    "spikes",
    "mostly zeros",
    "around zero",
)


def promoted(series: list[Floats], *, unit: float = 1.0, seed: int = 0) -> Panel:
    """Series with a promotion now and then, whose effect is EFFECT where they move at all, and where it is ahead."""
    draw = np.random.default_rng(seed)
    promotion = [(draw.random(STEPS) < 0.2).astype(float) for _ in series]
    lifted = [
        y + EFFECT * p * (np.abs(np.diff(y, prepend=np.nan)) > 0.01) for y, p in zip(series, promotion, strict=True)
    ]
    panel = panel_of([unit * y for y in lifted], season_length=SEASON, freq="1", known_future={"promotion": promotion})
    ahead = np.tile((np.arange(HORIZON) % 4 == 1).astype(float), (len(series), 1))
    return replace(
        panel, future={"promotion": ahead}, future_ds=np.tile(STEPS + 1 + np.arange(HORIZON), (len(series), 1))
    )


@pytest.mark.parametrize(("count", "covariate", "unit"), [(1, False, 1.0), (1, True, 1e-9), (12, True, 1e9)])
@pytest.mark.parametrize("kind", KINDS)
def test_no_forecast_leaves_the_range_of_its_history_by_more_than_that_range(
    kind: str, count: int, covariate: bool, unit: float
) -> None:
    draw = np.random.default_rng(0)
    panel = promoted([strange(kind, draw), *(usual(draw) for _ in range(count - 1))], unit=unit)
    if not covariate:
        panel = replace(panel, covariates={}, roles={}, future={})
    for arm in backtest(panel, plan_for(panel, HORIZON), REFERENCES_ONLY).report.arms:
        model = fit_arm(panel, arm)
        median = model.quantiles(tail_inputs(panel, model.layout))[:, :, MEDIAN]
        for series, (start, end) in enumerate(zip(panel.offsets[:-1], panel.offsets[1:], strict=True)):
            y = panel.y[start:end]
            reach = y.max() - y.min()
            assert y.min() - reach <= median[series].min(), (arm.name, series)
            assert median[series].max() <= y.max() + reach, (arm.name, series)


def test_other_units_choose_the_same_model_and_give_the_same_forecast() -> None:
    draw = np.random.default_rng(0)
    series = [strange(kind, draw) for kind in ("usual", "flat tail", "tail of zeros", "mostly zeros")]
    found, chosen = [], []
    for unit in (1.0, 1e-9, 1e9):
        panel = promoted(series, unit=unit)
        report = backtest(panel, plan_for(panel, HORIZON), REFERENCES_ONLY).report
        arm = next(arm for arm in report.arms if arm.name == report.chosen)
        model = fit_arm(panel, arm)
        found.append(model.quantiles(tail_inputs(panel, model.layout)) / unit)
        chosen.append((arm.name, arm.intervals.transform, arm.intervals.spread))
    assert len(set(chosen)) == 1
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-5, atol=1e-4)


def flattened(panel: Panel, value: float, wobble: float = 0.0) -> Panel:
    """The last two seasons at one value."""
    y = panel.y.copy()
    y[-2 * SEASON :] = value + wobble * (np.arange(2 * SEASON) % 2)
    return replace(panel, y=y)


@pytest.mark.parametrize("transform", ["identity", "root", "log", "asinh"])
def test_a_promotion_lifts_a_flat_window_no_more_than_it_lifts_others_and_a_window_of_zeros_not_at_all(
    transform: str,
) -> None:
    panel = promoted([usual(np.random.default_rng(1))])
    spec = spec_for(panel, HORIZON, roles=("known_future",))
    path = DirectRidge.fit(panel, spec, {"transform": transform, "members": [[1.0, 0.01]], "future_penalty": 0.1})
    model = CalibratedModel(path, Calibration(np.zeros((HORIZON, len(QUANTILES))), Unit("identity", "level"), None))
    session = load_model(export_onnx(model, contract_of(model, panel)))
    found = {}
    for name, history in {
        "flat": flattened(panel, 90.0),
        "nearly flat": flattened(panel, 90.0, 0.001),
        "a tenth": flattened(replace(panel, y=0.1 * panel.y), 9.0),
        "zeros": flattened(panel, 0.0),
    }.items():
        inputs = tail_inputs(history, path.layout)
        found[name] = path.point(inputs)[0]
        np.testing.assert_allclose(session.run(inputs)[0, :, MEDIAN], found[name], rtol=1e-5, atol=1e-5)
    lift = (
        found["flat"][panel.future["promotion"][0] > 0].mean() - found["flat"][panel.future["promotion"][0] < 1].mean()
    )
    assert 0.4 * EFFECT < lift < 1.4 * EFFECT
    np.testing.assert_allclose(found["nearly flat"], found["flat"], atol=0.1)
    np.testing.assert_allclose(10 * found["a tenth"], found["flat"], rtol=1e-9)
    np.testing.assert_array_equal(found["zeros"], 0.0)


@pytest.mark.parametrize("spread", ["level", "change"])
def test_intervals_around_a_flat_window_are_about_as_wide_as_usual(spread: str) -> None:
    panel = promoted([usual(np.random.default_rng(1))])
    found = next(a for a in backtest(panel, plan_for(panel, HORIZON), REFERENCES_ONLY).report.arms if a.covariates)
    learned = Stillness.of(earlier_targets(panel, found.intervals.lookback or 0, panel.lengths), "identity")
    stillness = (learned.still, learned.usual)
    intervals = replace(found.intervals, transform="identity", spread=spread, stillness=stillness)
    found = replace(found, intervals=intervals)
    model = fit_arm(panel, found)
    session = load_model(export_onnx(model, contract_of(model, panel)))
    widths = []
    for history in (panel, flattened(panel, 90.0), flattened(panel, 90.0, 0.001)):
        inputs = tail_inputs(history, model.layout)
        quantiles = model.quantiles(inputs)
        np.testing.assert_allclose(session.run(inputs), quantiles, rtol=1e-4)
        widths.append(float((quantiles[:, :, HIGH] - quantiles[:, :, MEDIAN]).mean()))
    assert 0.4 * widths[0] < widths[1] < 2.5 * widths[0]
    assert widths[2] == pytest.approx(widths[1], rel=0.02)


@pytest.mark.parametrize("transform", ["identity", "root", "log"])
def test_the_stiller_a_window_the_nearer_its_spread_comes_to_the_usual_one(transform: Transform) -> None:
    windows = 100 + 20 * np.random.default_rng(0).normal(size=(200, 24))
    yard = Yardstick(stillness=Stillness.of(windows, transform))
    wobble = np.resize([-1.0, 1.0], 24)
    sizes = np.array([[0.0], [1e-9], [1e-3], [0.1], [1.0], [20.0]])
    still = local_scale(100 + sizes * wobble, transform, yard)
    plain = local_scale(100 + sizes * wobble, transform)
    median = float(np.median(local_scale(windows, transform).spread))
    np.testing.assert_allclose(still.spread[:3, 0], median, rtol=0.05)
    assert np.all(np.diff(still.spread[:5, 0]) <= 1e-12)
    assert (still.spread[-1], still.lifted[-1]) == (plain.spread[-1], 0.0)
    zeros = local_scale(np.zeros((1, 24)), transform, yard)
    assert zeros.flat.all()
    np.testing.assert_array_equal(zeros.inverse(np.array([[3.0, -2.0]])), 0.0)


@pytest.mark.parametrize("transform", ["root", "log"])
def test_a_window_that_is_half_zeros_is_not_forecast_further_than_any_was_seen_to_go(transform: str) -> None:
    panel = panel_of([strange("season of zeros", np.random.default_rng(2))], season_length=SEASON, freq="1")
    path = DirectRidge.fit(panel, spec_for(panel, HORIZON), {"transform": transform, "members": [[1.0, 0.001]]})
    inputs = tail_inputs(panel, path.layout)
    target = np.where(np.arange(path.layout.lookback) % 2, 0.0, inputs.target)
    asked = replace(inputs, target=target.astype(np.float32).astype(np.float64))
    far = replace(path, bias=path.bias + 50.0)
    assert 0 < path.reach < 4
    np.testing.assert_allclose(far.point(asked), path.reach * target.max(), rtol=1e-6)
    model = CalibratedModel(far, Calibration(np.zeros((HORIZON, len(QUANTILES))), Unit("identity", "level"), None))
    session = load_model(export_onnx(model, contract_of(model, panel)))
    np.testing.assert_allclose(session.run(asked)[:, :, MEDIAN], far.point(asked), rtol=1e-5)


def test_what_asinh_bends_is_bounded_by_half_its_range_more_and_not_by_many_times_that() -> None:
    panel = panel_of([strange("step", np.random.default_rng(0))], season_length=SEASON, freq="1")
    recipe = {"transform": "asinh", "members": [[1.0, 0.1]]}
    path = DirectRidge.fit(panel, spec_for(panel, HORIZON), recipe)
    assert np.sinh(path.high).max() < 2 * 300 / 15


@pytest.mark.parametrize(("bend", "scale"), [("identity", "window"), ("identity", "last"), ("log", "window")])
def test_a_network_measures_a_flat_window_by_what_is_usual_in_its_file_too(bend: Bend, scale: Scale) -> None:
    panel = promoted([usual(np.random.default_rng(1))])
    asked = {"bend": bend, "scale": scale, "span": SEASON}
    units = units_for(panel, asked, lookback=2 * SEASON, until=panel.lengths)
    usually = units.measure(np.lib.stride_tricks.sliding_window_view(panel.y, 2 * SEASON)).spread
    target = np.stack([np.full(2 * SEASON, 90.0), np.zeros(2 * SEASON)])
    measured = units.measure(target)
    assert 0.5 * np.median(usually) < measured.spread[0, 0] < 2 * np.median(usually)
    np.testing.assert_array_equal(measured.inverse(np.array([[1.0], [1.0]]))[1], 0.0)
    g = Graph()
    source = g.input("target", ("batch", 2 * SEASON))
    nodes = units.write(g, source)
    z = g.node("Add", nodes.forward(g, nodes.target), g.constant(1.0, np.float32))
    g.output("path", g.cast(nodes.inverse(g, z), 1), ("batch", 2 * SEASON))
    (found,) = run(g, target)
    np.testing.assert_allclose(found, measured.inverse(measured.forward(target) + 1.0), rtol=1e-5)


def run(g: Graph, target: Floats) -> list[Floats]:
    import onnxruntime

    session = onnxruntime.InferenceSession(g.model("path", {}))
    return list(session.run(None, {"target": target.astype(np.float32)}))

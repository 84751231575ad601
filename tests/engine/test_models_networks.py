from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import pytest
from forecast_toys import hourly, panel_of
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.errors import HistoryTooShort
from mcp_forecast_engine.evaluation.windows import window_at
from mcp_forecast_engine.models.features import inputs_at, phase_of, tail_inputs
from mcp_forecast_engine.models.forecaster import Family, FittedModel
from mcp_forecast_engine.models.graph import Graph, Ports
from mcp_forecast_engine.models.mlp import Mlp
from mcp_forecast_engine.models.network_fit import fit_network
from mcp_forecast_engine.models.network_path import Layers
from mcp_forecast_engine.models.network_settings import settings_for
from mcp_forecast_engine.models.network_training import TrainingSettings, train
from mcp_forecast_engine.models.network_windows import Lessons
from mcp_forecast_engine.models.segment_lstm import SegmentLstm
from mcp_forecast_engine.models.spec import ForecastSpec, spec_for

pytest.importorskip("torch", reason="networks are trained with torch, the extra `train`")

Singles = NDArray[np.float32]
PRICES = Path(__file__).parents[2].parent / "shared" / "data" / "epf_np.parquet"
SMALL = {"hidden": 16, "seeds": 2, "visits": 2_000, "reach": 3}
ROLES = ("known_future", "historical", "static")
FAMILIES: dict[str, type[Family]] = {"mlp": Mlp, "segment_lstm": SegmentLstm}
both_families = pytest.mark.parametrize("family", FAMILIES)


def fitted(
    family: str, panel: Panel, *, roles: tuple[str, ...] = (), horizon: int = 24, **asked: object
) -> FittedModel:
    spec = spec_for(panel, horizon, roles=roles)
    settings = FAMILIES[family].tune(panel, spec, [], {**SMALL, **asked})
    return FAMILIES[family].fit(panel, spec, settings, phases=None)


def shops(count: int = 4, steps: int = 90) -> Panel:
    draw = np.random.default_rng(3)
    series = [50 * (i + 1) + np.cumsum(draw.normal(size=steps)) for i in range(count)]
    return panel_of(series, season_length=1, freq="1", static={"size": [float(i) for i in range(count)]})


CASES = {
    "window": {"scale": "window", "bend": "identity"},
    "last": {"scale": "last", "bend": "identity", "origins": "every"},
    "log": {"scale": "window", "bend": "log"},
    "asinh": {"scale": "window", "bend": "asinh", "origins": "every"},
    "raw": {"scale": "raw", "bend": "identity"},
    "raw log": {"scale": "raw", "bend": "log"},
    "raw asinh": {"scale": "raw", "bend": "asinh"},
}


def parity(model: FittedModel, panel: Panel, *, horizon: int = 24) -> None:
    session = session_of(model)
    draw = np.random.default_rng(0)
    series = draw.integers(0, len(panel.unique_id), 256)
    origin = draw.integers(model.layout.lookback, panel.lengths[series] - horizon)
    inputs = inputs_at(panel, model.layout, series, origin)
    for batch in (1, 7, 256):
        part = inputs.take(slice(0, batch))
        values = {"phase": part.phase, "series": part.series}
        for name in ("target", "cov_hist", "cov_future", "calendar", "static"):
            values[name] = getattr(part, name).astype(np.float32)
        read = {port.name: values[port.name] for port in session.get_inputs()}
        expected, (found,) = model.point(part), session.run(None, read)
        assert found.shape == expected.shape == (batch, horizon)
        assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).mean()


def session_of(model: FittedModel) -> onnxruntime.InferenceSession:
    graph, layout = Graph(), model.layout
    ports = Ports(
        target=graph.input("target", ("batch", layout.lookback)),
        cov_hist=graph.input("cov_hist", ("batch", layout.past, len(layout.cov_hist))),
        cov_future=graph.input("cov_future", ("batch", layout.horizon, len(layout.known_future))),
        calendar=graph.input("calendar", ("batch", len(layout.calendar))),
        static=graph.input("static", ("batch", len(layout.static))),
        phase=graph.input("phase", ("batch",), onnx.TensorProto.INT64),
        series=graph.input("series", ("batch",), onnx.TensorProto.INT64) if layout.series else "",
    )
    graph.output("path", graph.cast(model.write(graph, ports), onnx.TensorProto.FLOAT), ("batch", layout.horizon))
    return onnxruntime.InferenceSession(graph.model("path", {}))


@both_families
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("level", [60.0, 60_000.0])
def test_the_file_of_a_network_answers_as_the_network_does(family: str, case: str, level: float) -> None:
    panel = hourly(40, level=level)
    panel = replace(panel, y=np.maximum(panel.y, 0))
    parity(fitted(family, panel, roles=ROLES, **CASES[case]), panel)


@both_families
def test_a_network_reads_many_series_with_static_facts_and_no_calendar(family: str) -> None:
    panel = shops()
    model = fitted(family, panel, roles=ROLES, horizon=5, bend="identity")
    assert model.point(tail_inputs(panel, model.layout)).shape == (4, 5)
    parity(model, panel, horizon=5)


@both_families
def test_the_same_request_trains_the_same_network_to_the_last_bit(family: str) -> None:
    panel = hourly(40)
    first, second = (fitted(family, panel, roles=ROLES, bend="asinh") for _ in range(2))
    for name, value in vars(first.layers).items():
        np.testing.assert_array_equal(value, getattr(second.layers, name), err_msg=name)


@both_families
@pytest.mark.parametrize("case", ["window", "asinh", "raw"])
@pytest.mark.parametrize(("scale", "shift"), [(0.37, 0.0), (1.0, 913.7), (41.3, -77.7)])
def test_a_series_told_in_other_units_is_forecast_in_those_units(
    family: str, case: str, scale: float, shift: float
) -> None:
    panel = hourly(40)
    moved = replace(panel, y=panel.y * scale + shift)
    found = []
    for history in (panel, moved):
        model = fitted(family, history, roles=ROLES, **CASES[case])
        found.append(model.point(tail_inputs(without_future(history), model.layout)))
    np.testing.assert_allclose(found[1], found[0] * scale + shift, rtol=0, atol=1e-6 * scale * panel.y.std())


def without_future(panel: Panel) -> Panel:
    future = {name: panel.covariates[name][None, -24:] for name, role in panel.roles.items() if role == "known_future"}
    return replace(panel, future=future)


@both_families
def test_the_order_of_covariates_changes_nothing(family: str) -> None:
    panel = without_future(hourly(40))
    spec = spec_for(panel, 24, roles=ROLES)
    found = []
    for names in (spec.known_future, spec.known_future[::-1]):
        turned = replace(spec, known_future=names)
        settings = FAMILIES[family].tune(panel, turned, [], {**SMALL, "bend": "identity"})
        model = FAMILIES[family].fit(panel, turned, settings)
        found.append(model.point(tail_inputs(panel, model.layout)))
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-6 * panel.y.std())


@both_families
def test_a_choice_never_sees_what_lies_behind_the_first_validation_window_or_the_panels_end(family: str) -> None:
    panel = hourly(60)
    origins = [np.array([24 * day]) for day in range(50, 56)]
    later = panel.y.copy()
    later[24 * 56 :] += 1_000.0
    choices = []
    for y in (panel.y, later):
        changed = replace(panel, y=y)
        settings = FAMILIES[family].tune(changed, spec_for(changed, 24, roles=ROLES), origins, SMALL)
        choices.append(settings)
        assert settings["bend"] in ("identity", "asinh", "log")
    assert choices[0] == choices[1]


@both_families
def test_ranges_of_covariates_are_those_of_the_rows_that_a_fit_may_see(family: str) -> None:
    panel, end = hourly(60), 24 * 50
    driver = panel.covariates["driver"].copy()
    driver[end:] += 1_000.0
    panel = replace(panel, covariates=panel.covariates | {"driver": driver})
    spec = spec_for(panel, 24, roles=ROLES)
    settings, lines = {**settings_for(panel, spec, SMALL), "bend": "identity"}, []

    def train_line(
        lessons: Lessons, start: tuple[Singles, Singles], training: TrainingSettings, spec: ForecastSpec
    ) -> Layers:
        lines.append(start)
        return train(lessons.rows, lessons.z, lessons.weight, start, replace(training, steps=1))

    path = fit_network(family, panel, spec, settings, train_line, phases=None, until=np.array([end]))
    assert len(lines) == 1
    assert path.rows.ahead.high.tolist() == [driver[:end].max()]
    whole = fit_network(family, panel, spec, settings, train_line, phases=None, until=panel.lengths)
    assert whole.rows.ahead.high.tolist() == [driver.max()]


@both_families
@pytest.mark.parametrize("case", ["raw", "raw log", "raw asinh"])
def test_constant_units_are_those_of_the_series_trained_on_and_a_stranger_has_its_own(family: str, case: str) -> None:
    panel = hourly(40, level=60.0)
    panel = replace(panel, y=np.maximum(panel.y, 0))
    model = fitted(family, panel, **CASES[case])
    inputs = inputs_at(panel, model.layout, np.zeros(5, np.int64), 24 * np.arange(30, 35))
    stranger = replace(inputs, target=1_000 * inputs.target, series=np.full(5, -1))
    small = replace(stranger, target=inputs.target)
    assert np.array_equal(inputs.series, np.zeros(5))
    np.testing.assert_allclose(model.point(stranger), 1_000 * model.point(small), rtol=1e-4)
    assert np.abs(model.point(small) - model.point(inputs)).mean() < panel.y.std()
    session = session_of(model)
    for asked in (inputs, small, stranger):
        values = {name: getattr(asked, name) for name in ("phase", "series")}
        values |= {name: getattr(asked, name).astype(np.float32) for name in ("target", "calendar")}
        (found,) = session.run(None, {port.name: values[port.name] for port in session.get_inputs()})
        np.testing.assert_allclose(found, model.point(asked), rtol=1e-4)


@both_families
def test_a_window_is_forecast_alike_whatever_comes_after_it(family: str) -> None:
    panel = hourly(50)
    model = fitted(family, window_at(panel, np.array([24 * 45]), 24).history, roles=ROLES, bend="identity")
    changed = replace(panel, y=np.where(np.arange(len(panel.y)) < 24 * 46, panel.y, 1e6))
    at = (np.array([0]), np.array([24 * 46]))
    found = [model.point(inputs_at(p, model.layout, *at)) for p in (panel, changed)]
    np.testing.assert_array_equal(found[0], found[1])


@both_families
def test_a_forecast_of_a_network_moves_with_a_known_future_covariate(family: str) -> None:
    panel = without_future(hourly(60))
    model = fitted(family, panel, roles=("known_future",), bend="identity", visits=20_000)
    warmer = replace(panel, future=panel.future | {"driver": panel.future["driver"] + 1.0})
    effect = model.point(tail_inputs(warmer, model.layout)) - model.point(tail_inputs(panel, model.layout))
    assert 1 < effect.mean() < 6


def test_networks_learn_what_a_line_cannot() -> None:
    draw = np.random.default_rng(0)
    n = 24 * 150
    heat = np.repeat(draw.normal(size=n // 24), 24)
    y = 10 + 5 * np.abs(heat) + 0.3 * draw.normal(size=n)
    panel = panel_of([y], season_length=24, known_future={"heat": [heat]})
    history = window_at(panel, np.array([24 * 130]), 24).history
    truth = panel.y[24 * 130 :].reshape(20, 24)
    errors = []
    for visits in (0, 60_000):
        model = fitted("mlp", history, roles=("known_future",), bend="identity", visits=visits)
        inputs = inputs_at(panel, model.layout, np.zeros(20, np.int64), 24 * np.arange(130, 150))
        errors.append(np.abs(model.point(inputs) - truth).mean())
    assert errors[1] < 0.5 * errors[0]


@both_families
def test_aligned_networks_learn_only_from_the_phases_asked_for(family: str) -> None:
    panel = hourly(40)
    spec = spec_for(panel, 24)
    settings = FAMILIES[family].tune(panel, spec, [], {**SMALL, "bend": "identity", "origins": "aligned"})
    model = FAMILIES[family].fit(panel, spec, settings, phases=np.array([0]))
    inputs = inputs_at(panel, model.layout, np.array([0]), np.array([24 * 30]))
    assert phase_of(panel.ds[24 * 30 :][:1], panel.axis, 24) == 0
    assert np.abs(model.point(inputs) - panel.y[24 * 30 : 24 * 31]).mean() < 4


@both_families
def test_flat_and_constant_series_get_a_finite_forecast(family: str) -> None:
    for series in ([np.full(120, 7.0)], [np.full(120, 0.0), np.arange(120.0)]):
        panel = panel_of(list[NDArray[np.float64]](series), season_length=1, freq="1")
        model = fitted(family, panel, horizon=6)
        assert np.isfinite(model.point(tail_inputs(panel, model.layout))).all()


@both_families
def test_a_history_without_a_window_is_refused(family: str) -> None:
    panel = panel_of([np.arange(10.0)], season_length=1, freq="1")
    with pytest.raises(HistoryTooShort, match="no training window"):
        fitted(family, panel, horizon=24)


@pytest.mark.skipif(not PRICES.exists(), reason=f"the shared data are not here: {PRICES.name}")
def test_one_perceptron_fitted_once_beats_the_published_ensemble_of_regressions_on_nord_pool_prices() -> None:
    table = pq.read_table(PRICES)
    names = [name for name in table.column_names if name not in ("unique_id", "ds", "y")]
    columns = {name: [table[name].to_numpy().astype(np.float64)] for name in names}
    panel = panel_of([table["y"].to_numpy().astype(np.float64)], season_length=24, known_future=columns)
    days = 728
    origins = len(panel.y) - 24 * np.arange(days, 0, -1)
    history = window_at(panel, origins[:1], 24).history
    spec = spec_for(history, 24, roles=("known_future",))
    validation = [np.array([origins[0] - 24 * day]) for day in range(90, 0, -1)]
    settings = Mlp.tune(history, spec, validation, {"reach": 4})
    model = Mlp.fit(history, spec, settings, phases=np.array([0]))
    found = model.point(inputs_at(panel, model.layout, np.zeros(days, np.int64), origins))
    error = np.abs(found - panel.y[-24 * days :].reshape(days, 24)).mean()
    assert error < 1.70  # LEAR's ensemble 1.738, DNN's 1.683: Lago et al. 2021

"""A calibrated model becomes one ONNX file: units, weights, combination, offsets and the sort are inside the graph.

A pretrained model alone becomes a manifest that names its files instead.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from mcp_forecast_engine.models.calibration import CHANGE_FLOOR, LEVELS, SAME_LEVEL, CalibratedModel, Calibration
from mcp_forecast_engine.models.combination import last_steps, narrowed
from mcp_forecast_engine.models.contract import KEY, Contract
from mcp_forecast_engine.models.features import Layout
from mcp_forecast_engine.models.graph import Graph, Ports
from mcp_forecast_engine.models.pretrained_manifest import manifest_of
from mcp_forecast_engine.models.pretrained_path import PretrainedPath
from mcp_forecast_engine.models.scaling import FURTHEST, Yardstick
from mcp_forecast_engine.models.scaling_nodes import write_scale
from mcp_forecast_engine.models.spec import QUANTILES

_F32, _F64 = np.float32, np.float64
_FLOAT = TensorProto.FLOAT


def export_model(model: CalibratedModel, contract: Contract) -> bytes:
    """What a training keeps of its model: ONNX, or the JSON manifest of one pretrained model alone.

    Raises NotExportable for a combination that holds a pretrained model.
    """
    if isinstance(model.path, PretrainedPath):
        return manifest_of(model.path, model.calibration, contract)
    return export_onnx(model, contract)


def export_onnx(model: CalibratedModel, contract: Contract) -> bytes:
    """Write the model; the same fit gives the same bytes.

    Inputs, float32, batch first (those that nothing reads are left out): target (batch, lookback), cov_hist (batch,
    past, H), cov_future (batch, horizon, F), calendar (batch, C) of the first forecast step, static (batch, G); int64
    phase (batch), known (batch), how many of the last steps of target are genuine, and series (batch), the place among
    the series that the model has weights of their own for (-1: another one).
    Output: quantiles float32 (batch, horizon, 13). The contract is in metadata_props under "mcp_forecast.contract".
    """
    graph, layout = Graph(), model.layout
    ports = _ports(graph, layout)
    path = model.path.write(graph, narrowed(graph, ports, layout, model.path.layout))
    found = _quantiles(graph, path, ports, model)
    graph.output("quantiles", found, ("batch", layout.horizon, len(QUANTILES)))
    return graph.model("forecast", {KEY: contract.to_json()})


def _ports(g: Graph, layout: Layout) -> Ports:
    return Ports(
        target=g.input("target", ("batch", layout.lookback)),
        known=g.input("known", ("batch",), TensorProto.INT64),
        cov_hist=g.input("cov_hist", ("batch", layout.past, len(layout.cov_hist))) if layout.cov_hist else "",
        cov_future=(
            g.input("cov_future", ("batch", layout.horizon, len(layout.known_future))) if layout.known_future else ""
        ),
        calendar=g.input("calendar", ("batch", len(layout.calendar))) if layout.calendar else "",
        static=g.input("static", ("batch", len(layout.static))) if layout.static else "",
        phase=g.input("phase", ("batch",), TensorProto.INT64),
        series=g.input("series", ("batch",), TensorProto.INT64) if layout.series else "",
    )


def _quantiles(g: Graph, path: str, ports: Ports, model: CalibratedModel) -> str:
    """`spread_out`, floats (batch, horizon, levels), sorted by level."""
    calibration, whole, measured = model.calibration, model.layout, model.measured
    target = last_steps(g, ports.target, whole.lookback, measured)
    scale, lags = write_scale(g, target, calibration.unit.transform, Yardstick(stillness=calibration.unit.stillness))
    offsets = _offsets(g, lags, scale.lifted, ports, calibration, season_length=whole.season_length, lookback=measured)
    last, none = g.constant([2], np.int64), g.constant(0.0, _F64)
    z = g.node("Unsqueeze", scale.forward(g, path), last)
    offsets = g.cast(offsets, TensorProto.DOUBLE)
    if calibration.unit.transform != "identity":
        offsets = g.node("Max", g.node("Min", offsets, g.constant(FURTHEST, _F64)), g.constant(-FURTHEST, _F64))
    y = scale.inverse(g, g.node("Add", z, offsets), rank=3)
    measured_there = g.node("Unsqueeze", g.node("Greater", scale.spread, none), last)
    y = g.node("Where", measured_there, y, g.node("Unsqueeze", path, last))
    if calibration.nonnegative:
        y = g.node("Max", y, none)
    if calibration.unit.intermittent:
        y = _emptied(g, target, y, measured)
    levels = g.constant([len(QUANTILES)], np.int64)
    return g.node("TopK", g.cast(y, TensorProto.FLOAT), levels, outputs=2, axis=2, largest=0, sorted=1)


def _emptied(g: Graph, target: str, y: str, measured: int) -> str:
    """Quantiles, doubles (batch, horizon, levels), 0 up to the part of zeros in the window."""
    zero = g.node("Equal", g.cast(target, TensorProto.DOUBLE), g.constant(0.0, _F64))
    count = g.node("ReduceSum", g.cast(zero, TensorProto.DOUBLE), g.constant([1], np.int64), keepdims=1)
    empty = g.node("Unsqueeze", g.node("Div", count, g.constant(float(measured), _F64)), g.constant([2], np.int64))
    empty = g.node("Add", empty, g.constant(SAME_LEVEL, _F64))
    return g.node("Where", g.node("LessOrEqual", g.constant(LEVELS, _F64), empty), g.constant(0.0, _F64), y)


def _offsets(
    g: Graph, lags: str, lifted: str, ports: Ports, calibration: Calibration, *, season_length: int, lookback: int
) -> str:
    """Offsets in the window's units, (batch or 1, horizon, levels)."""
    m = season_length
    by_phase = calibration.by_phase(m)
    offsets = g.constant(by_phase, _F32)
    if len(by_phase) > 1:
        offsets = g.node("Gather", offsets, ports.phase, axis=0)
    if calibration.unit.spread == "change" and lookback > m:
        axis = g.constant([1], np.int64)
        late = g.node("Slice", lags, g.constant([m], np.int64), g.constant([lookback], np.int64), axis)
        early = g.node("Slice", lags, g.constant([0], np.int64), g.constant([lookback - m], np.int64), axis)
        change = g.node("Abs", g.node("Sub", late, early))
        known = ports.known if calibration.lookback else ""
        width = _genuine_mean(g, change, known, m, lookback - m) if known else g.mean(change, 1, keep=True)
        width = g.node("Add", width, g.constant(CHANGE_FLOOR, _F32))
        width = g.node("Add", width, g.cast(lifted, TensorProto.FLOAT))
        offsets = g.node("Mul", offsets, g.node("Unsqueeze", width, g.constant([2], np.int64)))
    return offsets


def _genuine_mean(g: Graph, change: str, known: str, season_length: int, steps: int) -> str:
    """The mean of changes (batch, steps) between genuine steps, as `residual_unit` takes it, (batch, 1)."""
    axis, season = g.constant([1], np.int64), g.constant(float(season_length), _F32)
    # In floating point: not every runtime compares whole numbers.
    place = g.node("Add", g.constant(np.arange(steps)[None, :], _F32), g.cast(g.node("Unsqueeze", known, axis), _FLOAT))
    genuine = g.cast(g.node("Greater", place, g.constant(steps + season_length - 0.5, _F32)), _FLOAT)
    count = g.node("ReduceSum", genuine, axis, keepdims=1)
    missing = g.node("Max", g.node("Sub", season, count), g.constant(0.0, _F32))
    total = g.node("Add", g.node("ReduceSum", g.node("Mul", change, genuine), axis, keepdims=1), missing)
    return g.node("Div", total, g.node("Max", count, season))

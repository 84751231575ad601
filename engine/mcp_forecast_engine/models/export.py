"""A calibrated model becomes one ONNX file: units, weights, combination, offsets and the sort are inside the graph.

A pretrained model alone becomes a manifest that names its files instead.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from mcp_forecast_engine.models.calibration import CHANGE_FLOOR, CalibratedModel, Calibration
from mcp_forecast_engine.models.contract import KEY, Contract
from mcp_forecast_engine.models.features import Layout
from mcp_forecast_engine.models.graph import Graph, Ports
from mcp_forecast_engine.models.pretrained_manifest import manifest_of
from mcp_forecast_engine.models.pretrained_path import PretrainedPath
from mcp_forecast_engine.models.scaling_nodes import write_scale
from mcp_forecast_engine.models.spec import QUANTILES

_F32, _F64 = np.float32, np.float64


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
    graph, layout = Graph(), model.path.layout
    ports = _ports(graph, layout)
    path = model.path.write(graph, ports)
    found = _quantiles(graph, path, ports, model.calibration, layout)
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


def _quantiles(g: Graph, path: str, ports: Ports, calibration: Calibration, layout: Layout) -> str:
    """`spread_out`, floats (batch, horizon, levels), sorted by level."""
    scale, lags = write_scale(g, ports.target, calibration.unit.transform)
    offsets = _offsets(g, lags, ports.phase, calibration, layout)
    z = g.node("Unsqueeze", scale.forward(g, path), g.constant([2], np.int64))
    y = scale.inverse(g, g.node("Add", z, g.cast(offsets, TensorProto.DOUBLE)), rank=3)
    if calibration.nonnegative:
        y = g.node("Max", y, g.constant(0.0, _F64))
    levels = g.constant([len(QUANTILES)], np.int64)
    return g.node("TopK", g.cast(y, TensorProto.FLOAT), levels, outputs=2, axis=2, largest=0, sorted=1)


def _offsets(g: Graph, lags: str, phase: str, calibration: Calibration, layout: Layout) -> str:
    """Offsets in the window's units, (batch or 1, horizon, levels)."""
    m, lookback = layout.season_length, layout.lookback
    by_phase = calibration.by_phase(m)
    offsets = g.constant(by_phase, _F32)
    if len(by_phase) > 1:
        offsets = g.node("Gather", offsets, phase, axis=0)
    if calibration.unit.spread == "change" and lookback > m:
        axis = g.constant([1], np.int64)
        late = g.node("Slice", lags, g.constant([m], np.int64), g.constant([lookback], np.int64), axis)
        early = g.node("Slice", lags, g.constant([0], np.int64), g.constant([lookback - m], np.int64), axis)
        width = g.mean(g.node("Abs", g.node("Sub", late, early)), 1, keep=True)
        width = g.node("Add", width, g.constant(CHANGE_FLOOR, _F32))
        offsets = g.node("Mul", offsets, g.node("Unsqueeze", width, g.constant([2], np.int64)))
    return offsets

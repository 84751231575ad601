"""A calibrated model becomes one ONNX file: units, bases, weights, offsets and the sort are inside the graph."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from mcp_forecast_engine.models.basis import Basis
from mcp_forecast_engine.models.calibration import CHANGE_FLOOR, CalibratedModel
from mcp_forecast_engine.models.contract import KEY, Contract
from mcp_forecast_engine.models.design import block_means
from mcp_forecast_engine.models.forecaster import FittedPath
from mcp_forecast_engine.models.graph import Graph
from mcp_forecast_engine.models.scaling import FLAT, LOG_UNIT, TINY
from mcp_forecast_engine.models.spec import QUANTILES

_F32, _F64 = np.float32, np.float64


def export_onnx(model: CalibratedModel, contract: Contract) -> bytes:
    """Write the model; the same fit gives the same bytes.

    Inputs, float32, batch first (empty ones are left out): target (batch, lookback), cov_hist (batch, past, H),
    cov_future (batch, horizon, F), calendar (batch, C) of the first forecast step, static (batch, G); int64 phase
    (batch) where weights or offsets differ by phase.
    Output: quantiles float32 (batch, horizon, 11). The contract is in metadata_props under "mcp_forecast.contract".
    """
    if np.any(model.path.slot < 0):
        # Gather would take the last set of weights for -1 without a word.
        raise ValueError("only a model fitted for every phase can be exported")
    return _Writer(model, contract).write()


class _Writer:
    """Walks the same steps as CalibratedModel.quantiles, and writes them down instead of doing them.

    Units are computed in double precision, so that a large level does not swallow a small spread.
    """

    def __init__(self, model: CalibratedModel, contract: Contract) -> None:
        self.path: FittedPath = model.path
        self.calibration = model.calibration
        self.offsets = model.calibration.by_phase(model.path.spec.season_length)
        self.contract = contract
        self.graph = Graph()

    def write(self) -> bytes:
        g, layout = self.graph, self.path.layout
        target = g.input("target", ("batch", layout.lookback))
        hist = g.input("cov_hist", ("batch", layout.past, len(layout.cov_hist))) if layout.cov_hist else ""
        ahead = ""
        if layout.known_future:
            ahead = g.input("cov_future", ("batch", layout.horizon, len(layout.known_future)))
        calendar = g.input("calendar", ("batch", len(layout.calendar))) if layout.calendar else ""
        fixed = g.input("static", ("batch", len(layout.static))) if layout.static else ""
        by_phase = len(self.path.weights) > 1 or len(self.offsets) > 1
        phase = g.input("phase", ("batch",), TensorProto.INT64) if by_phase else ""
        unit, level, spread, lags = self._units(target)
        z = self._centre(self._rows(lags, hist, ahead, calendar, fixed), phase)
        found = self._inverse(self._spread_out(z, lags, phase), unit, level, spread)
        g.output("quantiles", found, ("batch", layout.horizon, len(QUANTILES)))
        return g.model("forecast", {KEY: self.contract.to_json()})

    def _double(self, value: float) -> str:
        return self.graph.constant(value, _F64)

    def _units(self, target: str) -> tuple[str, str, str, str]:
        """unit (or ""), level, spread (batch, 1) in double; lags (batch, lookback) in the window's units, float32."""
        g, kind = self.graph, self.path.transform
        y, unit = g.cast(target, TensorProto.DOUBLE), ""
        if kind != "identity":
            size = g.mean(g.node("Abs", y), 1, keep=True)
            unit = g.node("Where", g.node("Greater", size, self._double(TINY)), size, self._double(1.0))
            if kind == "log":
                unit = g.node("Mul", unit, self._double(LOG_UNIT))
            y = g.node("Div", g.node("Max", y, self._double(0.0)), unit)
            y = g.node("Sqrt", y) if kind == "root" else g.node("Log", g.node("Add", y, self._double(1.0)))
        level = g.mean(y, 1, keep=True)
        centred = g.node("Sub", y, level)
        spread = g.node("Sqrt", g.mean(g.node("Mul", centred, centred), 1, keep=True))
        size = g.node("Abs", level)
        limit = g.node("Add", g.node("Mul", size, self._double(FLAT)), self._double(TINY))
        own = g.node("Where", g.node("Greater", size, self._double(TINY)), size, self._double(1.0))
        spread = g.node("Where", g.node("LessOrEqual", spread, limit), own, spread)
        return unit, level, spread, g.cast(g.node("Div", centred, spread), TensorProto.FLOAT)

    def _rows(self, lags: str, hist: str, ahead: str, calendar: str, fixed: str) -> str:
        """The regressors in the order of Design.rows, (batch, p)."""
        g, layout, design = self.graph, self.path.layout, self.path.design
        own, known = len(layout.historical), len(layout.known_future)
        parts = [lags]
        if known:
            future = self._expand(ahead, design.future, 0, axis=2)
            if design.blocks < layout.horizon:
                future = g.node("MatMul", g.constant(block_means(layout.horizon, design.blocks), _F32), future)
            parts.append(self._flat(future))
            parts.append(g.mean(self._expand(hist, design.future, own, axis=2), 1, keep=False))
        if own:
            past = self._expand(hist, design.past, 0, axis=2)
            parts += [g.mean(past, 1, keep=False), self._flat(past)]
        if layout.calendar:
            parts.append(calendar)
        if layout.static:
            parts.append(self._expand(fixed, design.fixed, 0, axis=1))
        return g.node("Concat", *parts, axis=1) if len(parts) > 1 else lags

    def _flat(self, source: str) -> str:
        return self.graph.node("Reshape", source, self.graph.constant([0, -1], np.int64))

    def _expand(self, source: str, basis: Basis, first: int, *, axis: int) -> str:
        """Basis.expand for columns that start at place `first`."""
        g, parts = self.graph, []
        if len(basis.source):
            value = g.node("Gather", source, g.constant(basis.source + first, np.int64), axis=axis)
            value = g.node("Min", g.node("Max", value, g.constant(basis.low, _F32)), g.constant(basis.high, _F32))
            hinge = g.node("Relu", g.node("Sub", value, g.constant(basis.knot, _F32)))
            parts.append(g.node("Mul", hinge, g.constant(basis.factor, _F32)))
        if len(basis.level_source):
            value = g.node("Gather", source, g.constant(basis.level_source + first, np.int64), axis=axis)
            gap = g.node("Abs", g.node("Sub", value, g.constant(basis.level, _F32)))
            parts.append(g.cast(g.node("Less", gap, g.constant(basis.half_gap, _F32)), TensorProto.FLOAT))
        return g.node("Concat", *parts, axis=axis) if len(parts) > 1 else parts[0]

    def _centre(self, rows: str, phase: str) -> str:
        """The path in the window's units, clipped, (batch, horizon)."""
        g, path = self.graph, self.path
        if len(path.weights) > 1:
            slot = g.node("Gather", g.constant(path.slot, np.int64), phase, axis=0)
            weights = g.node("Gather", g.constant(path.weights, _F32), slot, axis=0)
            bias = g.node("Gather", g.constant(path.bias, _F32), slot, axis=0)
            row = g.node("Unsqueeze", rows, g.constant([1], np.int64))
            z = g.node("Squeeze", g.node("MatMul", row, weights), g.constant([1], np.int64))
            z = g.node("Add", z, bias)
        else:
            z = g.node("MatMul", rows, g.constant(path.weights[0], _F32))
            z = g.node("Add", z, g.constant(path.bias[0], _F32))
        return g.node("Min", g.node("Max", z, g.constant(path.low, _F32)), g.constant(path.high, _F32))

    def _spread_out(self, z: str, lags: str, phase: str) -> str:
        """Path plus offsets, (batch, horizon, levels), in the window's units."""
        g, m = self.graph, self.path.spec.season_length
        offsets = g.constant(self.offsets, _F32)
        if len(self.offsets) > 1:
            offsets = g.node("Gather", offsets, phase, axis=0)
        if self.calibration.spread == "change" and self.path.layout.lookback > m:
            lookback, axis = self.path.layout.lookback, g.constant([1], np.int64)
            late = g.node("Slice", lags, g.constant([m], np.int64), g.constant([lookback], np.int64), axis)
            early = g.node("Slice", lags, g.constant([0], np.int64), g.constant([lookback - m], np.int64), axis)
            width = g.mean(g.node("Abs", g.node("Sub", late, early)), 1, keep=True)
            width = g.node("Add", width, g.constant(CHANGE_FLOOR, _F32))
            offsets = g.node("Mul", offsets, g.node("Unsqueeze", width, g.constant([2], np.int64)))
        return g.node("Add", g.node("Unsqueeze", z, g.constant([2], np.int64)), offsets)

    def _inverse(self, z: str, unit: str, level: str, spread: str) -> str:
        """Back to the series' units, never below zero where the target never was, sorted by level; float32."""
        g, kind, last = self.graph, self.path.transform, self.graph.constant([2], np.int64)
        y = g.node("Mul", g.cast(z, TensorProto.DOUBLE), g.node("Unsqueeze", spread, last))
        y = g.node("Add", y, g.node("Unsqueeze", level, last))
        if kind != "identity":
            y = g.node("Max", y, self._double(0.0))
            y = g.node("Mul", y, y) if kind == "root" else g.node("Sub", g.node("Exp", y), self._double(1.0))
            y = g.node("Mul", y, g.node("Unsqueeze", unit, last))
        if self.path.spec.nonnegative:
            y = g.node("Max", y, self._double(0.0))
        y = g.cast(y, TensorProto.FLOAT)
        levels = g.constant([len(QUANTILES)], np.int64)
        return g.node("TopK", y, levels, outputs=2, axis=2, largest=0, sorted=1)

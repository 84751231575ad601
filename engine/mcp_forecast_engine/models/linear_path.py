"""A model that is one linear map of a window's regressors, in the window's own units: ridge and seasonal naive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.design import Design
from mcp_forecast_engine.models.design_nodes import write_rows
from mcp_forecast_engine.models.features import Inputs, Layout
from mcp_forecast_engine.models.graph import Graph, Ports
from mcp_forecast_engine.models.scaling import MEASURED, LocalScale, Transform, Yardstick, local_scale, within_reach
from mcp_forecast_engine.models.scaling_nodes import write_scale, write_within_reach

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_F32 = np.float32


@dataclass(frozen=True)
class LinearPath:
    """z = clip(rows @ weights[set] + bias[set]), in each window's own units.

    weights: (P, p, horizon), bias: (P, horizon). by: "phase", set = slot[phase], or "series", set = series + 1, the
    first one for series that were not trained on. slot: int64 (m), which of the P sets a phase uses; -1: not fitted.
    yard: what of the units is constant, for all windows or by series. low, high: (horizon), the range of z seen in
    training and a margin around it; no extrapolation beyond. reach: see `within_reach`.
    """

    family: str
    layout: Layout
    design: Design
    transform: Transform
    weights: Floats
    bias: Floats
    slot: Integers
    low: Floats
    high: Floats
    yard: Yardstick = MEASURED
    by: Literal["phase", "series"] = "phase"
    reach: float = np.inf

    def scale(self, inputs: Inputs) -> LocalScale:
        """The units of each window."""
        return local_scale(inputs.target, self.transform, self.yard, inputs.series)

    def centre(self, inputs: Inputs) -> Floats:
        """The forecast in each window's units, (B, horizon)."""
        rows = self.design.rows(inputs, self.scale(inputs), self.layout)
        slots = inputs.series + 1 if self.by == "series" else self.slot[inputs.phase]
        if np.any(slots < 0):
            raise ValueError("this fit has no weights for the phase asked for")
        z = np.empty((len(inputs), self.layout.horizon))
        for slot in np.unique(slots):
            of_slot = slots == slot
            z[of_slot] = rows[of_slot] @ self.weights[slot] + self.bias[slot]
        return np.clip(z, self.low, self.high)

    def point(self, inputs: Inputs) -> Floats:
        """The forecast in the series' units, (B, horizon)."""
        return within_reach(self.scale(inputs).inverse(self.centre(inputs)), inputs.target, self.reach)

    def write(self, graph: Graph, ports: Ports) -> str:
        """The nodes of `point`; raises ValueError where the fit does not cover every phase."""
        if np.any(self.slot < 0):
            # Gather would take the last set of weights for -1 without a word.
            raise ValueError("only a model fitted for every phase can be exported")
        scale, lags = write_scale(graph, ports.target, self.transform, self.yard, ports.series)
        rows = write_rows(graph, self.design, self.layout, ports, lags)
        y = scale.inverse(graph, self._write_centre(graph, rows, ports))
        return write_within_reach(graph, y, ports.target, self.reach)

    def _write_centre(self, g: Graph, rows: str, ports: Ports) -> str:
        if len(self.weights) > 1:
            if self.by == "series":
                slot = g.node("Add", ports.series, g.constant(1, np.int64))
            else:
                slot = g.node("Gather", g.constant(self.slot, np.int64), ports.phase, axis=0)
            weights = g.node("Gather", g.constant(self.weights, _F32), slot, axis=0)
            bias = g.node("Gather", g.constant(self.bias, _F32), slot, axis=0)
            row = g.node("Unsqueeze", rows, g.constant([1], np.int64))
            z = g.node("Squeeze", g.node("MatMul", row, weights), g.constant([1], np.int64))
            z = g.node("Add", z, bias)
        else:
            z = g.node("MatMul", rows, g.constant(self.weights[0], _F32))
            z = g.node("Add", z, g.constant(self.bias[0], _F32))
        return g.node("Min", g.node("Max", z, g.constant(self.low, _F32)), g.constant(self.high, _F32))

"""Fitted effects: the level of the last steps, a trend, and what season and covariates add, as arrays and as nodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from mcp_forecast_engine.models.array_tensor import ArrayTensor, array
from mcp_forecast_engine.models.basis import Basis
from mcp_forecast_engine.models.design_nodes import write_basis
from mcp_forecast_engine.models.features import Inputs, Layout
from mcp_forecast_engine.models.graph import Graph, Ports
from mcp_forecast_engine.models.graph_scan import graph_tensor, written
from mcp_forecast_engine.models.scaling import LOG_UNIT
from mcp_forecast_engine.models.static_groups import Grouping
from mcp_forecast_engine.models.tensor import Tensor

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_ROWS = 512
# How far a path of logarithms may rise above the largest one seen: e² is a factor of about seven.
_LOG_ROOM = 2.0


@dataclass(frozen=True)
class EffectsPath:
    """y = unit * (level + slope * steps ahead + season + covariates), or the logarithm of it.

    waves: (m, J), the season's waves. table: (S + groups + 1, P), effects of every series of the layout, then those of
    a stranger of each group, then of any other; columns: waves, expanded covariates, slope. memory: weight of a step of
    the window, in the level, against the one after it. unit: mean size of the window's values; a window of zeros is
    forecast zero. layout.past is its lookback, a whole number of seasons.
    """

    family: ClassVar[str] = "effects"
    layout: Layout
    drivers: Basis
    waves: Floats
    table: Floats
    grouping: Grouping
    memory: float
    log: bool
    nonnegative: bool

    def point(self, inputs: Inputs) -> Floats:
        """The forecast in the series' units, (B, horizon)."""
        rows = [inputs.take(slice(at, at + _ROWS)) for at in range(0, len(inputs), _ROWS)]
        return np.concatenate([self._answered(part) for part in rows]) if rows else np.zeros((0, self.layout.horizon))

    def write(self, graph: Graph, ports: Ports) -> str:
        """The nodes of `point`."""
        own = graph.node("Gather", graph.constant(self.table, np.float64), self._write_place(graph, ports), axis=0)
        total, season = self._steps, self.waves.shape[1]
        parts = []
        if season:
            profile = graph.node("MatMul", graph.part(own, 0, season), graph.constant(self.waves.T, np.float64))
            first = graph.node("Unsqueeze", ports.phase, graph.constant([1], np.int64))
            step = graph.node("Add", first, graph.constant(np.arange(total)[None], np.int64))
            step = graph.node("Mod", step, graph.constant(len(self.waves), np.int64))
            parts.append(graph.node("GatherElements", profile, step, axis=1))
        if self.drivers.size:
            both = graph.node("Concat", ports.cov_hist, ports.cov_future, axis=1)
            expanded = graph.cast(write_basis(graph, both, self.drivers, 0, axis=2), TensorProto.DOUBLE)
            weight = graph.node(
                "Unsqueeze", graph.part(own, season, season + self.drivers.size), graph.constant([2], np.int64)
            )
            parts.append(graph.node("Squeeze", graph.node("MatMul", expanded, weight), graph.constant([2], np.int64)))
        target = graph_tensor(graph, graph.cast(ports.target, TensorProto.DOUBLE))
        count = graph.node("Unsqueeze", ports.known, graph.constant([1], np.int64))

        known = replace(target, name=graph.cast(count, TensorProto.DOUBLE))
        added: list[Tensor] = [replace(target, name=part) for part in parts]
        slope = replace(target, name=graph.part(own, self.table.shape[1] - 1, self.table.shape[1]))
        return written(self._path(target, known, added, slope))

    @property
    def _steps(self) -> int:
        return self.layout.lookback + self.layout.horizon

    def _answered(self, inputs: Inputs) -> Floats:
        named = len(self.table) - self.grouping.size - 1
        own = self.table[np.where(inputs.series >= 0, inputs.series, named + self.grouping.of(inputs.static))]
        season, added = self.waves.shape[1], list[Tensor]()
        if season:
            step = (inputs.phase[:, None] + np.arange(self._steps)) % len(self.waves)
            added.append(ArrayTensor(np.take_along_axis(own[:, :season] @ self.waves.T, step, axis=1)))
        if self.drivers.size:
            expanded = self.drivers.expand(np.concatenate([inputs.cov_hist, inputs.cov_future], axis=1))
            added.append(ArrayTensor((expanded @ own[:, season:-1, None])[:, :, 0]))
        known = ArrayTensor(inputs.known[:, None].astype(np.float64))
        return array(self._path(ArrayTensor(inputs.target), known, added, ArrayTensor(own[:, -1:])))

    def _path(self, target: Tensor, known: Tensor, added: list[Tensor], slope: Tensor) -> Tensor:
        """added: what season and covariates add at every step of the window and ahead, (B, L + h) each."""
        length, total = self.layout.lookback, self._steps
        steps = known.at_least(1.0)
        mask = (steps + np.arange(length)[None, :]).above(length - 0.5).choose(1.0, 0.0)
        size = (target.abs() * mask).sum(1) / steps
        unit = size.above(1e-300).choose(size, 1.0) * (LOG_UNIT if self.log else 1.0)
        y = target * mask / unit
        y = (y.at_least(0.0) + 1.0).log() if self.log else y
        whole = slope * (np.arange(total) - (length - 1.0))[None, :]
        for part in added:
            whole = whole + part
        weight = mask * (self.memory ** np.arange(length - 1.0, -1.0, -1.0))[None, :]
        level = ((y - whole.part(1, 0, length)) * weight).sum(1) / weight.sum(1)
        path = whole.part(1, length, total) + level
        if self.log:
            ceiling = (y * mask).reduce("ReduceMax", 1) + _LOG_ROOM
            return (path.at_least(0.0).at_most(ceiling).exp() - 1.0) * (size * LOG_UNIT)
        return (path.at_least(0.0) if self.nonnegative else path) * size

    def _write_place(self, g: Graph, ports: Ports) -> str:
        """The row of the table of each window, int64 (batch)."""
        named = len(self.table) - self.grouping.size - 1
        group = self.grouping.write(g, ports.static)
        strange = (
            g.node("Add", group, g.constant(named, np.int64))
            if group
            else g.node("Add", g.node("Mul", ports.phase, g.constant(0, np.int64)), g.constant(named, np.int64))
        )
        if not self.layout.series:
            return strange
        known = g.node("Greater", ports.series, g.constant(-1, np.int64))
        return g.node("Where", known, ports.series, strange)

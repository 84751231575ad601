"""The regressors of a network: lags in the window's units, covariates as values or levels, calendar, static facts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.design import block_means
from mcp_forecast_engine.models.design_nodes import write_levels
from mcp_forecast_engine.models.features import Inputs, Layout
from mcp_forecast_engine.models.graph import Graph, Ports
from mcp_forecast_engine.models.levels import levels_of
from mcp_forecast_engine.models.network_units import UnitNodes, WindowUnits

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_F32 = np.float32

# Columns that covariates may have ahead, and as many behind: a fit's cost grows with them.
_MOST_COLUMNS = 700
_LONGEST_ONE_HOT = 48


@dataclass(frozen=True)
class Columns:
    """How F covariates become K numbers: what is continuous as clip(v, low, high), what has few levels as indicators.

    source, low, high: (Kc). level_source, level, half_gap: (Kl), 1 where |v - level| < half_gap.
    """

    source: Integers
    low: Floats
    high: Floats
    level_source: Integers
    level: Floats
    half_gap: Floats

    @property
    def size(self) -> int:
        """K, numbers per row."""
        return len(self.source) + len(self.level_source)

    def expand(self, values: Floats) -> Floats:
        """(..., F) to (..., K)."""
        clipped = np.clip(values[..., self.source], self.low, self.high)
        levels = np.abs(values[..., self.level_source] - self.level) < self.half_gap
        return np.concatenate([clipped, levels.astype(np.float64)], axis=-1)

    def write(self, g: Graph, source: str, *, axis: int) -> str:
        """The nodes of `expand`; floats."""
        parts = []
        if len(self.source):
            value = g.node("Gather", source, g.constant(self.source, np.int64), axis=axis)
            parts.append(g.node("Min", g.node("Max", value, g.constant(self.low, _F32)), g.constant(self.high, _F32)))
        if len(self.level_source):
            parts.append(write_levels(g, source, self.level_source, self.level, self.half_gap, axis=axis))
        return g.node("Concat", *parts, axis=axis) if len(parts) > 1 else parts[0]


def columns_for(panel: Panel, names: tuple[str, ...]) -> Columns:
    """Learn ranges and levels of the named covariates; in the order of their names, so that theirs changes nothing."""
    ranges: list[tuple[int, float, float]] = []
    levels: list[tuple[int, float, float]] = []
    for name in sorted(names):
        place, values = names.index(name), panel.covariates[name]
        found = levels_of(values, categorical=name in panel.categories)
        if found is None:
            ranges.append((place, float(values.min()), float(values.max())))
        else:
            levels += [(place, float(level), found[1]) for level in found[0]]
    r, v = np.array(ranges, np.float64).reshape(-1, 3), np.array(levels, np.float64).reshape(-1, 3)
    return Columns(
        r[:, 0].astype(np.int64), r[:, 1], r[:, 2], v[:, 0].astype(np.int64), level=v[:, 1], half_gap=v[:, 2]
    )


@dataclass(frozen=True)
class Rows:
    """How inputs become P regressors, before they are standardised.

    ahead, behind, fixed: columns of known-future, of all past, and of static covariates. blocks_ahead, blocks_behind:
    steps are averaged into this many blocks where every step would give too many columns. phases: one-hot places
    in the season (0: the calendar says it). In order: lags in the window's units, ahead (blocks x K), behind,
    calendar, static, phases.
    """

    ahead: Columns
    behind: Columns
    fixed: Columns
    blocks_ahead: int
    blocks_behind: int
    phases: int

    def of(self, inputs: Inputs, units: WindowUnits, layout: Layout) -> Floats:
        """(B, P) regressors."""
        size = len(inputs)
        ahead = block_means(layout.horizon, self.blocks_ahead) @ self.ahead.expand(inputs.cov_future)
        behind = block_means(layout.past, self.blocks_behind) @ self.behind.expand(inputs.cov_hist)
        one_hot = (inputs.phase[:, None] == np.arange(self.phases)).astype(np.float64)
        parts = [
            units.forward(inputs.target),
            ahead.reshape(size, -1),
            behind.reshape(size, -1),
            inputs.calendar,
            self.fixed.expand(inputs.static),
            one_hot,
        ]
        return np.concatenate(parts, axis=1)

    def write(self, g: Graph, layout: Layout, ports: Ports, units: UnitNodes) -> str:
        """The nodes of `of`: floats (batch, P)."""
        parts = [units.forward(g, units.target)]
        if self.ahead.size:
            steps = self.ahead.write(g, ports.cov_future, axis=2)
            parts.append(_blocks(g, steps, layout.horizon, self.blocks_ahead))
        if self.behind.size:
            steps = self.behind.write(g, ports.cov_hist, axis=2)
            parts.append(_blocks(g, steps, layout.past, self.blocks_behind))
        if layout.calendar:
            parts.append(ports.calendar)
        if self.fixed.size:
            parts.append(self.fixed.write(g, ports.static, axis=1))
        if self.phases:
            place = g.node("Unsqueeze", ports.phase, g.constant([1], np.int64))
            same = g.node("Equal", place, g.constant(np.arange(self.phases), np.int64))
            parts.append(g.cast(same, TensorProto.FLOAT))
        return g.node("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]


def rows_for(panel: Panel, layout: Layout) -> Rows:
    """Learn columns, ranges and levels of a training panel."""
    ahead, behind = columns_for(panel, layout.known_future), columns_for(panel, layout.cov_hist)
    m = layout.season_length
    return Rows(
        ahead=ahead,
        behind=behind,
        fixed=columns_for(panel, layout.static),
        blocks_ahead=min(layout.horizon, max(_MOST_COLUMNS // max(ahead.size, 1), 1)),
        blocks_behind=min(layout.past, max(_MOST_COLUMNS // max(behind.size, 1), 1)),
        phases=m if not layout.calendar and 1 < m <= _LONGEST_ONE_HOT else 0,
    )


def _blocks(g: Graph, source: str, steps: int, blocks: int) -> str:
    if blocks < steps:
        source = g.node("MatMul", g.constant(block_means(steps, blocks), _F32), source)
    return g.node("Reshape", source, g.constant([0, -1], np.int64))

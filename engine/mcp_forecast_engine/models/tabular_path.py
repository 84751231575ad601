"""A fitted tabular model: the own shape of the season and what trees add to it, in each window's own units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.features import Inputs, Layout
from mcp_forecast_engine.models.graph import Graph, Ports
from mcp_forecast_engine.models.group_shapes import group_shapes
from mcp_forecast_engine.models.tabular_nodes import write_tabular
from mcp_forecast_engine.models.tabular_rows import TabularRows
from mcp_forecast_engine.models.tree_ensemble import TreeEnsemble

Floats = NDArray[np.float64]

_AT_ONCE = 200_000


@dataclass(frozen=True)
class TabularPath:
    """z[j] = own shape at j + trees(row of window and step j); tables: per grouping its shapes by phase."""

    family: str
    design: TabularRows
    tables: tuple[Floats, ...]
    trees: TreeEnsemble

    @property
    def layout(self) -> Layout:
        """The columns and lengths that it reads."""
        return self.design.layout

    def point(self, inputs: Inputs) -> Floats:
        """The forecast in the series' units, (B, horizon)."""
        count = max(_AT_ONCE // self.layout.horizon, 1)
        starts = range(0, max(len(inputs), 1), count)
        return np.concatenate([self._some(inputs.take(slice(start, start + count))) for start in starts])

    def _some(self, inputs: Inputs) -> Floats:
        m, h = self.layout.season_length, self.layout.horizon
        measured = self.design.measured(inputs)
        shapes = group_shapes(inputs, self.design.groupings, self.tables, m)
        rows = self.design.rows(inputs, measured, shapes)
        z = measured.own[:, np.arange(h) % m] + self.trees.sum(rows.reshape(-1, rows.shape[2])).reshape(-1, h)
        return measured.scale.inverse(z)

    def write(self, graph: Graph, ports: Ports) -> str:
        """The nodes of `point`."""
        return write_tabular(graph, ports, self.design, self.tables, self.trees)

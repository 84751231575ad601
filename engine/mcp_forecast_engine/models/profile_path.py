"""A fitted seasonal profile: own and group shapes of the season on each window's level, which grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.features import Inputs, Layout
from mcp_forecast_engine.models.graph import Graph, Ports
from mcp_forecast_engine.models.group_shapes import group_shapes, write_group_shapes
from mcp_forecast_engine.models.season_view import SeasonView, season_view
from mcp_forecast_engine.models.season_view_nodes import ViewNodes, write_view
from mcp_forecast_engine.models.static_groups import Grouping

Floats = NDArray[np.float64]
_F64 = np.float64


@dataclass(frozen=True)
class Weights:
    """What a path is made of: path[j] = shape[j] + facts @ now + facts @ later * min(j + 1, reach) / reach.

    shape: (2 + groupings), for own, smooth and group shapes. now, later: (A), what the facts of a `SeasonView` add at
    once and at the end. reach: the most steps ahead that were learned from.
    """

    shape: Floats
    now: Floats
    later: Floats
    reach: int

    def path(self, view: SeasonView, shapes: Sequence[Floats], horizon: int) -> Floats:
        """The forecast in parts of the level, (B, horizon); shapes: per grouping (B, m)."""
        parts = zip(self.shape, (view.own, view.smooth, *shapes), strict=True)
        shape = sum((weight * part for weight, part in parts), np.zeros_like(view.own))
        now, later = view.facts @ self.now, view.facts @ self.later
        path = shape[:, np.arange(horizon) % shape.shape[1]]
        return np.asarray(path + now[:, None] + later[:, None] * self.ramp(horizon), np.float64)

    def ramp(self, horizon: int) -> Floats:
        """How far each step is on the way to the end, (horizon)."""
        return np.asarray(np.minimum(np.arange(1, horizon + 1), self.reach) / self.reach, np.float64)


@dataclass(frozen=True)
class ProfilePath:
    """y = level * max(path, low), the path as `Weights` says.

    tables: per grouping the shape of each of its groups by phase of the season, (size + 1, m); the last row serves
    series of no known group. low: the least value in parts of the level.
    """

    family: str
    layout: Layout
    groupings: tuple[Grouping, ...]
    tables: tuple[Floats, ...]
    weights: Weights
    low: float

    def point(self, inputs: Inputs) -> Floats:
        """The forecast in the series' units, (B, horizon)."""
        view = season_view(inputs, self.layout.season_length)
        shapes = group_shapes(inputs, self.groupings, self.tables, self.layout.season_length)
        path = self.weights.path(view, shapes, self.layout.horizon)
        return np.asarray(np.maximum(path, self.low) * view.level, np.float64)

    def write(self, graph: Graph, ports: Ports) -> str:
        """The nodes of `point`."""
        view = write_view(graph, ports, self.layout)
        of_groups = write_group_shapes(graph, ports, self.groupings, self.tables, self.layout.season_length)
        shapes = [view.own, view.smooth, *of_groups]
        parts = [graph.node("Mul", s, graph.constant(w, _F64)) for w, s in zip(self.weights.shape, shapes, strict=True)]
        return self._write_path(graph, view, graph.node("Sum", *parts))

    def _write_path(self, g: Graph, view: ViewNodes, shape: str) -> str:
        step = np.arange(self.layout.horizon) % self.layout.season_length
        path = g.node("Gather", shape, g.constant(step, np.int64), axis=1)
        found = self.weights
        effects = found.now[:, None] + found.later[:, None] * found.ramp(self.layout.horizon)
        path = g.node("Add", path, g.node("MatMul", view.facts, g.constant(effects, _F64)))
        if np.isfinite(self.low):
            path = g.node("Max", path, g.constant(self.low, _F64))
        return g.node("Mul", path, view.level)

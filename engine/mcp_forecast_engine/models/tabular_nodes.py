"""The rows of a tabular model and its trees, written as graph nodes: the same steps as `tabular_rows`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from mcp_forecast_engine.models.features import Layout
from mcp_forecast_engine.models.graph import Graph, Ports
from mcp_forecast_engine.models.group_shapes import write_group_shapes
from mcp_forecast_engine.models.levels import half_gap
from mcp_forecast_engine.models.scaling_nodes import write_scale
from mcp_forecast_engine.models.season_view import spans_of
from mcp_forecast_engine.models.season_view_nodes import write_genuine_weights
from mcp_forecast_engine.models.tabular_rows import (
    GRID,
    LARGEST,
    SEASONAL_LAGS,
    UNSEEN,
    TabularRows,
    plain_calendar,
    recent_spans,
    turns,
    year_columns,
)
from mcp_forecast_engine.models.tree_ensemble import TreeEnsemble

Floats = NDArray[np.float64]
_F64 = np.float64


def write_tabular(g: Graph, ports: Ports, design: TabularRows, tables: tuple[Floats, ...], trees: TreeEnsemble) -> str:
    """The forecast in the series' units, doubles (batch, horizon)."""
    layout = design.layout
    m, h = layout.season_length, layout.horizon
    scale, _ = write_scale(g, ports.target, design.transform, design.yard)
    z = _on_grid(g, scale.forward(g, g.cast(ports.target, TensorProto.DOUBLE)))
    seasons = g.node("Reshape", z, g.constant([-1, layout.lookback // m, m], np.int64))
    own = _on_grid(g, _own(g, seasons, ports.known, m, layout.lookback // m))
    step = g.constant(np.arange(h) % m, np.int64)
    ahead = g.node("Gather", own, step, axis=1)
    rows = _rows(g, ports, design, tables, z=z, seasons=seasons, own=own)
    added = trees.write(g, g.node("Reshape", rows, g.constant([-1, columns(design)], np.int64)))
    added = g.cast(g.node("Reshape", added, g.constant([-1, h], np.int64)), TensorProto.DOUBLE)
    return scale.inverse(g, g.node("Add", ahead, added))


def columns(design: TabularRows) -> int:
    """F, how many columns a row has."""
    layout = design.layout
    m, seasons = layout.season_length, layout.lookback // layout.season_length
    growth = sum(layout.lookback >= k + m for k in spans_of(m))
    by_step = min(SEASONAL_LAGS, seasons) + 1 + len(design.groupings) + len(design.factors) + len(layout.known_future)
    fixed = len(recent_spans(m)) + growth + 2 * len(layout.historical) + len(layout.static)
    return by_step + fixed + len(year_columns(layout)) + len(plain_calendar(layout)) + 2


def _rows(
    g: Graph, ports: Ports, design: TabularRows, tables: tuple[Floats, ...], *, z: str, seasons: str, own: str
) -> str:
    layout = design.layout
    m, h = layout.season_length, layout.horizon
    step = g.constant(np.arange(h) % m, np.int64)
    count = layout.lookback // m
    lags = [_season(g, seasons, count - k) for k in range(1, min(SEASONAL_LAGS, count) + 1)]
    phase = g.node("Unsqueeze", ports.phase, g.constant([1], np.int64))
    shapes = [_on_grid(g, shape) for shape in write_group_shapes(g, ports, design.groupings, tables, m)]
    by_step = [_third(g, g.node("Gather", part, step, axis=1)) for part in (*lags, own, *shapes)]
    by_step += [_third(g, part) for part in (*_effects(g, ports, design, z, own), *_time_of_year(g, ports, layout))]
    parts = [_single(g, part) for part in by_step]
    if layout.known_future:
        parts.append(ports.cov_future)
    place = g.node("Add", phase, g.constant(np.arange(h), np.int64))
    place = _single(g, _third(g, g.node("Mod", place, g.constant(m, np.int64))))
    parts.append(_fixed(g, ports, design, z, place))
    ones = g.node("Mul", place, g.constant(0.0, np.float32))
    parts.append(g.node("Add", ones, g.constant(np.arange(1.0, h + 1)[None, :, None], np.float32)))
    return g.node("Concat", *parts, place, axis=2)


def _fixed(g: Graph, ports: Ports, design: TabularRows, z: str, like: str) -> str:
    """What is the same at every step, floats (batch, horizon, n)."""
    layout, own = design.layout, len(design.layout.historical)
    parts = [_single(g, part) for part in _recent(g, z, layout.season_length, layout.lookback)]
    if own:
        past = g.node("Gather", ports.cov_hist, g.constant(np.arange(own), np.int64), axis=2)
        parts.append(g.node("Squeeze", g.part(past, layout.past - 1, layout.past), g.constant([1], np.int64)))
        parts.append(_single(g, g.mean(g.cast(past, TensorProto.DOUBLE), 1, keep=False)))
    parts += [ports.static] if layout.static else []
    if plain_calendar(layout):
        plain = g.constant(plain_calendar(layout), np.int64)
        parts.append(g.node("Gather", ports.calendar, plain, axis=1))
    fixed = g.node("Unsqueeze", g.node("Concat", *parts, axis=1), g.constant([1], np.int64))
    return g.node("Add", fixed, g.node("Mul", like, g.constant(0.0, np.float32)))


def _own(g: Graph, seasons: str, known: str, m: int, count: int) -> str:
    weight = write_genuine_weights(g, g.node("Unsqueeze", known, g.constant([1], np.int64)), m, count)
    weighted = g.node("Mul", seasons, _third(g, weight))
    return g.node("ReduceSum", weighted, g.constant([1], np.int64), keepdims=0)


def _effects(g: Graph, ports: Ports, design: TabularRows, z: str, own: str) -> list[str]:
    if not design.factors:
        return []
    layout = design.layout
    apart = g.node("Sub", z, g.node("Tile", own, g.constant([1, layout.lookback // layout.season_length], np.int64)))
    found = []
    for factor in design.factors:
        past = _match(g, ports.cov_hist, len(layout.historical) + factor.place, factor.levels)
        total = g.node("ReduceSum", g.node("Mul", _third(g, apart), past), g.constant([1], np.int64), keepdims=1)
        count = g.node("ReduceSum", past, g.constant([1], np.int64), keepdims=1)
        effect = g.node("Div", total, g.node("Add", count, g.constant(UNSEEN, _F64)))
        ahead = _match(g, ports.cov_future, factor.place, factor.levels)
        effect = g.node("ReduceSum", g.node("Mul", ahead, effect), g.constant([2], np.int64), keepdims=0)
        found.append(_on_grid(g, effect))
    return found


def _time_of_year(g: Graph, ports: Ports, layout: Layout) -> list[str]:
    if not year_columns(layout):
        return []
    turn = turns(layout)[None, :]
    sine, cosine = (
        g.cast(g.node("Gather", ports.calendar, g.constant([place], np.int64), axis=1), TensorProto.DOUBLE)
        for place in year_columns(layout)
    )
    cos, sin = g.constant(np.cos(turn), _F64), g.constant(np.sin(turn), _F64)
    return [
        _on_grid(g, g.node("Add", g.node("Mul", sine, cos), g.node("Mul", cosine, sin))),
        _on_grid(g, g.node("Sub", g.node("Mul", cosine, cos), g.node("Mul", sine, sin))),
    ]


def _match(g: Graph, source: str, place: int, levels: Floats) -> str:
    """Doubles (batch, n, levels)."""
    value = g.cast(g.node("Gather", source, g.constant([place], np.int64), axis=2), TensorProto.DOUBLE)
    gap = g.node("Abs", g.node("Sub", value, g.constant(levels, _F64)))
    near = g.node("Less", gap, g.constant(half_gap(levels), _F64))
    return g.cast(near, TensorProto.DOUBLE)


def _recent(g: Graph, z: str, m: int, steps: int) -> list[str]:
    means = [_on_grid(g, g.mean(g.part(z, steps - k, steps), 1, keep=True)) for k in recent_spans(m)]
    for k in spans_of(m):
        if steps >= k + m:
            now = g.mean(g.part(z, steps - k, steps), 1, keep=True)
            before = g.mean(g.part(z, steps - k - m, steps - m), 1, keep=True)
            means.append(_on_grid(g, g.node("Sub", now, before)))
    return means


def _season(g: Graph, seasons: str, place: int) -> str:
    return g.node("Gather", seasons, g.constant(place, np.int64), axis=1)


def _third(g: Graph, source: str) -> str:
    return g.node("Unsqueeze", source, g.constant([2], np.int64))


def _single(g: Graph, source: str) -> str:
    return g.cast(source, TensorProto.FLOAT)


def _on_grid(g: Graph, source: str) -> str:
    bounded = g.node("Min", g.node("Max", source, g.constant(-LARGEST, _F64)), g.constant(LARGEST, _F64))
    whole = g.node("Round", g.node("Div", bounded, g.constant(GRID, _F64)))
    return g.node("Mul", whole, g.constant(GRID, _F64))

"""A window seen as seasons, written as graph nodes: the same steps as `season_view`, in double precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from mcp_forecast_engine.models.features import Layout
from mcp_forecast_engine.models.graph import Graph, Ports
from mcp_forecast_engine.models.scaling import TINY
from mcp_forecast_engine.models.season_view import MOST_GROWTH, NEIGHBOURS, level_seasons, season_weights, spans_of

_F64 = np.float64


@dataclass(frozen=True)
class ViewNodes:
    """A `SeasonView` in a graph: names of doubles."""

    level: str
    own: str
    smooth: str
    facts: str


def write_view(g: Graph, ports: Ports, layout: Layout) -> ViewNodes:
    """The nodes of `season_view`."""
    m, count = layout.season_length, layout.lookback // layout.season_length
    target = g.cast(ports.target, TensorProto.DOUBLE)
    seasons = g.node("Reshape", target, g.constant([-1, count, m], np.int64))
    size = g.mean(g.node("Abs", seasons), 2, keep=False)
    level = g.mean(_last(g, size, count, level_seasons(m, count)), 1, keep=True)
    known = g.node("Unsqueeze", ports.known, g.constant([1], np.int64))
    own = _own(g, seasons, size, known, m, count)
    turned = [g.node("Gather", own, g.constant((np.arange(m) - k) % m, np.int64), axis=1) for k in NEIGHBOURS]
    # onnxruntime has no Mean of doubles.
    smooth = g.node("Div", g.node("Sum", *turned), g.constant(float(len(turned)), _F64))
    facts = _facts(g, g.node("Div", target, _positive(g, level)), known, m, layout.lookback)
    return ViewNodes(level, own, smooth, facts)


def _own(g: Graph, seasons: str, size: str, known: str, m: int, count: int) -> str:
    weight = g.node("Div", write_genuine_weights(g, known, m, count), _positive(g, size))
    weighted = g.node("Mul", seasons, g.node("Unsqueeze", weight, g.constant([2], np.int64)))
    return g.node("ReduceSum", weighted, g.constant([1], np.int64), keepdims=0)


def write_genuine_weights(g: Graph, known: str, m: int, count: int) -> str:
    """`genuine_weights` of known (batch, 1)."""
    need = m * np.arange(count, 0, -1)
    need[-1] = 0
    whole = g.cast(g.node("GreaterOrEqual", known, g.constant(need, np.int64)), TensorProto.DOUBLE)
    weight = g.node("Mul", whole, g.constant(season_weights(m, count), _F64))
    return g.node("Div", weight, g.node("ReduceSum", weight, g.constant([1], np.int64), keepdims=1))


def _facts(g: Graph, u: str, known: str, m: int, steps: int) -> str:
    spans = spans_of(m)
    parts = []
    recent = g.mean(_last(g, u, steps, spans[0]), 1, keep=True)
    for k in spans:
        if steps < m + k:
            parts.append(g.node("Mul", recent, g.constant(0.0, _F64)))
            continue
        before = g.mean(g.part(u, steps - m - k, steps - m), 1, keep=True)
        change = g.node("Sub", g.mean(_last(g, u, steps, k), 1, keep=True), before)
        change = g.node("Min", g.node("Max", change, g.constant(-MOST_GROWTH, _F64)), g.constant(MOST_GROWTH, _F64))
        enough = g.cast(g.node("GreaterOrEqual", known, g.constant(m + k, np.int64)), TensorProto.DOUBLE)
        parts.append(g.node("Mul", change, enough))
    parts.append(g.node("Sub", recent, g.constant(1.0, _F64)))
    parts.append(g.node("Add", g.node("Mul", recent, g.constant(0.0, _F64)), g.constant(1.0, _F64)))
    return g.node("Concat", *parts, axis=1)


def _last(g: Graph, source: str, size: int, count: int) -> str:
    return g.part(source, size - count, size)


def _positive(g: Graph, size: str) -> str:
    return g.node("Where", g.node("Greater", size, g.constant(TINY, _F64)), size, g.constant(1.0, _F64))

"""The regressors of a window, written as graph nodes: the same steps as `design` and `basis`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from mcp_forecast_engine.models.basis import Basis
from mcp_forecast_engine.models.design import Design, block_means
from mcp_forecast_engine.models.features import Layout
from mcp_forecast_engine.models.graph import Graph, Ports

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_F32 = np.float32


def write_rows(g: Graph, design: Design, layout: Layout, ports: Ports, lags: str) -> str:
    """`Design.rows` with lags already in the window's units: floats (batch, p)."""
    own, known = len(layout.historical), len(layout.known_future)
    whole = len(design.lags) == layout.lookback
    parts = [lags if whole else g.node("Gather", lags, g.constant(design.lags, np.int64), axis=1)]
    if known:
        future = write_basis(g, ports.cov_future, design.future, 0, axis=2)
        if design.blocks < layout.horizon:
            future = g.node("MatMul", g.constant(block_means(layout.horizon, design.blocks), _F32), future)
        parts.append(_flat(g, future))
        parts.append(g.mean(write_basis(g, ports.cov_hist, design.future, own, axis=2), 1, keep=False))
    if own:
        past = write_basis(g, ports.cov_hist, design.past, 0, axis=2)
        parts += [g.mean(past, 1, keep=False), _flat(g, past)]
    if design.recent:
        parts.append(_flat(g, _straight(g, ports.cov_hist, design.future, own)))
    if layout.calendar:
        parts.append(ports.calendar)
    if layout.static:
        parts.append(write_basis(g, ports.static, design.fixed, 0, axis=1))
    return g.node("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]


def _flat(g: Graph, source: str) -> str:
    return g.node("Reshape", source, g.constant([0, -1], np.int64))


def _straight(g: Graph, source: str, basis: Basis, first: int) -> str:
    """Basis.straight for columns that start at place `first`."""
    kept = basis.linear
    value = g.node("Gather", source, g.constant(basis.source[kept] + first, np.int64), axis=2)
    value = g.node("Min", g.node("Max", value, g.constant(basis.low[kept], _F32)), g.constant(basis.high[kept], _F32))
    return g.node("Mul", g.node("Sub", value, g.constant(basis.knot[kept], _F32)), g.constant(basis.factor[kept], _F32))


def write_basis(g: Graph, source: str, basis: Basis, first: int, *, axis: int) -> str:
    """Basis.expand for columns that start at place `first`."""
    parts = []
    if len(basis.source):
        value = g.node("Gather", source, g.constant(basis.source + first, np.int64), axis=axis)
        value = g.node("Min", g.node("Max", value, g.constant(basis.low, _F32)), g.constant(basis.high, _F32))
        hinge = g.node("Relu", g.node("Sub", value, g.constant(basis.knot, _F32)))
        parts.append(g.node("Mul", hinge, g.constant(basis.factor, _F32)))
    if len(basis.level_source):
        parts.append(write_levels(g, source, basis.level_source + first, basis.level, basis.half_gap, axis=axis))
    return g.node("Concat", *parts, axis=axis) if len(parts) > 1 else parts[0]


def write_levels(g: Graph, source: str, places: Integers, level: Floats, half_gap: Floats, *, axis: int) -> str:
    """Floats, 1 where the value at each of the places is within half a gap of its level; all three (K)."""
    value = g.node("Gather", source, g.constant(places, np.int64), axis=axis)
    gap = g.node("Abs", g.node("Sub", value, g.constant(level, _F32)))
    return g.cast(g.node("Less", gap, g.constant(half_gap, _F32)), TensorProto.FLOAT)

"""The units of a window, written as graph nodes: the same steps as `scaling`, in double precision.

A large level must not swallow a small spread, so units are doubles although inputs and weights are floats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from mcp_forecast_engine.models.graph import Graph
from mcp_forecast_engine.models.scaling import (
    FLAT,
    FURTHEST,
    LOG_UNIT,
    MEASURED,
    SIGNED,
    TINY,
    Stillness,
    Transform,
    Yardstick,
)

Floats = NDArray[np.float64]
_F64 = np.float64


@dataclass(frozen=True)
class ScaleNodes:
    """A `LocalScale` in a graph: unit (or "" for identity), level, spread and lifted, doubles of shape (batch, 1)."""

    transform: Transform
    unit: str
    level: str
    spread: str
    lifted: str

    def forward(self, g: Graph, y: str, *, rank: int = 2) -> str:
        """Doubles (batch, n[, Q]) of the series' units into the window's units."""
        bent = write_bend(g, y, _wide(g, self.unit, rank), self.transform)
        apart = g.node("Sub", bent, _wide(g, self.level, rank))
        z = g.node("Div", apart, _wide(g, write_divisor(g, self.spread), rank))
        return g.asinh(z) if self.transform == "asinh" else z

    def inverse(self, g: Graph, z: str, *, rank: int = 2) -> str:
        """Floats or doubles (batch, n[, Q]) in the window's units back to the series' units, doubles."""
        z = g.cast(z, TensorProto.DOUBLE)
        if self.transform == "asinh":
            bounded = g.node("Min", g.node("Max", z, g.constant(-FURTHEST, _F64)), g.constant(FURTHEST, _F64))
            z = g.sinh(bounded)
        y = g.node("Mul", z, _wide(g, self.spread, rank))
        y = g.node("Add", y, _wide(g, self.level, rank))
        if self.transform in SIGNED:
            return y
        y = g.node("Max", y, g.constant(0.0, _F64))
        y = g.node("Mul", y, y) if self.transform == "root" else g.node("Sub", g.node("Exp", y), g.constant(1.0, _F64))
        return g.node("Mul", y, _wide(g, self.unit, rank))


def write_scale(
    g: Graph, target: str, transform: Transform, yard: Yardstick = MEASURED, series: str = ""
) -> tuple[ScaleNodes, str]:
    """`local_scale` of a target (batch, lookback), and the target in its units as floats; series: as `Ports.series`."""
    whole, unit = g.cast(target, TensorProto.DOUBLE), ""
    y = whole
    if yard.recent:
        y = g.last(whole, yard.recent)
    if transform not in SIGNED:
        size = g.mean(g.node("Abs", y), 1, keep=True)
        unit = g.node("Where", g.node("Greater", size, g.constant(TINY, _F64)), size, g.constant(1.0, _F64))
        if transform == "log":
            unit = g.node("Mul", unit, g.constant(LOG_UNIT, _F64))
    recent, every = write_bend(g, y, unit, transform), write_bend(g, whole, unit, transform)
    level, spread, lifted = _measured(g, recent, every, yard, series)
    scale = ScaleNodes(transform, unit, level, spread, lifted)
    return scale, g.cast(scale.forward(g, whole), TensorProto.FLOAT)


def _measured(g: Graph, recent: str, whole: str, yard: Yardstick, series: str) -> tuple[str, str, str]:
    """Level, spread and lifted, doubles of shape (batch, 1)."""
    level = g.mean(recent, 1, keep=True)
    measured, lifted = write_lift(g, recent if yard.spread is None else whole, yard.stillness)
    if yard.spread is None:
        return level, measured, lifted
    # A stranger, -1, is the first row, and has no constants.
    place = g.node("Add", series, g.constant(1, np.int64))
    spread = _row(g, yard.spread, place)
    known = g.node("Greater", spread, g.constant(0.0, _F64))
    if yard.level is not None:
        level = g.node("Where", known, _row(g, yard.level, place), level)
    own = g.node("Where", known, g.constant(0.0, _F64), lifted)
    return level, g.node("Where", known, spread, measured), own


def _row(g: Graph, values: Floats, place: str) -> str:
    return g.node("Gather", g.constant(np.concatenate([[0.0], values])[:, None], _F64), place, axis=0)


def write_lift(g: Graph, values: str, stillness: Stillness) -> tuple[str, str]:
    """`spread_of` and `Stillness.lift` of windows, doubles (batch, n): spread and lifted, (batch, 1)."""
    centred = g.node("Sub", values, g.mean(values, 1, keep=True))
    spread = g.node("Sqrt", g.mean(g.node("Mul", centred, centred), 1, keep=True))
    size = g.node("Sqrt", g.mean(g.node("Mul", values, values), 1, keep=True))
    zero, one = g.constant(0.0, _F64), g.constant(1.0, _F64)
    some = g.node("Greater", size, g.constant(TINY, _F64))
    if not stillness.usual:
        limit = g.node("Add", g.node("Mul", size, g.constant(FLAT, _F64)), g.constant(TINY, _F64))
        own = g.node("Where", g.node("LessOrEqual", spread, limit), size, spread)
        return g.node("Where", some, own, zero), g.node("Mul", spread, zero)
    least = g.node("Mul", size, g.constant(stillness.still, _F64))
    short = g.node("Sub", one, g.node("Div", spread, g.node("Where", some, least, one)))
    lifted = g.node("Min", g.node("Max", short, zero), one)
    more = g.node("Mul", g.node("Mul", lifted, size), g.constant(stillness.usual - stillness.still, _F64))
    return g.node("Where", some, g.node("Add", g.node("Max", spread, least), more), zero), lifted


def write_within_reach(g: Graph, y: str, target: str, reach: float) -> str:
    """`within_reach`: doubles (batch, horizon) by a target of floats (batch, lookback)."""
    if not np.isfinite(reach):
        return y
    most = g.cast(g.node("ReduceMax", target, g.constant([1], np.int64), keepdims=1), TensorProto.DOUBLE)
    return g.node("Min", y, g.node("Mul", most, g.constant(reach, _F64)))


def write_divisor(g: Graph, spread: str) -> str:
    """`divisor` of a spread."""
    return g.node("Where", g.node("Greater", spread, g.constant(0.0, _F64)), spread, g.constant(1.0, _F64))


def write_bend(g: Graph, y: str, unit: str, transform: Transform) -> str:
    """`bend` of doubles (batch, n)."""
    if transform in SIGNED:
        return y
    y = g.node("Div", g.node("Max", y, g.constant(0.0, _F64)), unit)
    return g.node("Sqrt", y) if transform == "root" else g.node("Log", g.node("Add", y, g.constant(1.0, _F64)))


def _wide(g: Graph, name: str, rank: int) -> str:
    return g.node("Unsqueeze", name, g.constant([2], np.int64)) if name and rank == 3 else name

"""The units in which a network sees a window: its own last season, its last value, or the whole training part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.graph import Graph
from mcp_forecast_engine.models.scaling import (
    FLAT,
    LOG_UNIT,
    TINY,
    UNKNOWN,
    Stillness,
    bend,
    divisor,
    spread_of,
    unit_of,
)
from mcp_forecast_engine.models.scaling_nodes import write_bend, write_divisor, write_lift
from mcp_forecast_engine.models.windows import earlier_targets

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bend = Literal["identity", "log", "asinh"]
Scale = Literal["window", "last", "raw"]
_F64 = np.float64


@dataclass(frozen=True)
class Units:
    """How windows are measured.

    scale: "window" (mean and spread of the last `span` steps), "last" (the last value and the same spread) or
    "raw" (level and spread of the training part, the same for every window of its series; others have "window").
    bend: "log" works on log(1 + y / (0.1 mean)) before the measure, only for targets that are never negative;
    "asinh" bends what was measured, so that spikes of either sign weigh less; "identity" does neither.
    unit, level, spread: constants of the training part; only "raw" reads them. stillness: what is usual where a window
    hardly moves.
    """

    bend: Bend
    scale: Scale
    span: int
    unit: float = 1.0
    level: float = 0.0
    spread: float = 1.0
    stillness: Stillness = UNKNOWN

    def measure(self, target: Floats, series: Integers | None = None) -> WindowUnits:
        """Measure lookbacks (B, L); one that hardly moves takes the spread that is usual for its size.

        series: int64 (B), -1: none of those that "raw" learned from, which is measured; None: all are among them.
        """
        size = len(target)
        if self.scale == "raw":
            unit, level, spread = (np.full((size, 1), value) for value in (self.unit, self.level, self.spread))
            fixed = WindowUnits(self.bend, unit, level, spread, np.zeros(size, bool))
            if series is None or np.all(series >= 0):
                return fixed
            return fixed.where(series >= 0, replace(self, scale="window").measure(target))
        unit = unit_of(target, self.bend)
        recent = bend(target[:, -self.span :], unit, self.bend)
        own, root, flat = spread_of(recent)
        spread, _ = self.stillness.lift(own, root, flat)
        level = recent[:, -1:] if self.scale == "last" else recent.mean(axis=1, keepdims=True)
        return WindowUnits(self.bend, unit, level, spread, flat[:, 0])

    def write(self, g: Graph, target: str, series: str = "") -> UnitNodes:
        """The nodes of `measure`, in doubles: a large level must not swallow a small spread; series: as a port's."""
        y = g.cast(target, TensorProto.DOUBLE)
        if self.scale == "raw":
            unit, level, spread = (g.constant([[v]], _F64) for v in (self.unit, self.level, self.spread))
            fixed = UnitNodes(self.bend, y, unit, level, spread)
            return fixed.where(g, series, replace(self, scale="window").write(g, target)) if series else fixed
        unit, one, tiny = g.constant([[1.0]], _F64), g.constant(1.0, _F64), g.constant(TINY, _F64)
        if self.bend == "log":
            mean = g.mean(g.node("Abs", y), 1, keep=True)
            mean = g.node("Where", g.node("Greater", mean, tiny), mean, one)
            unit = g.node("Mul", mean, g.constant(LOG_UNIT, _F64))
        recent = write_bend(g, g.last(y, self.span), unit, self.bend)
        spread, _ = write_lift(g, recent, self.stillness)
        level = g.last(recent, 1) if self.scale == "last" else g.mean(recent, 1, keep=True)
        return UnitNodes(self.bend, y, unit, level, spread)


def units_for(panel: Panel, settings: Mapping[str, Any], *, lookback: int, until: NDArray[np.int64]) -> Units:
    """The units that settings ask for; "raw" learns its constants from the steps before `until` (S)."""
    units = Units(settings["bend"], settings["scale"], min(settings["span"] or lookback, lookback))
    span = units.span if units.scale != "raw" else lookback
    before = earlier_targets(panel, lookback, until)
    measured = bend(before, unit_of(before, units.bend), units.bend)[:, -span:]
    units = replace(units, stillness=Stillness.of_bent(measured))
    if units.scale != "raw":
        return units
    y = np.concatenate([panel.y[a : a + n] for a, n in zip(panel.offsets[:-1], until, strict=True)])
    unit = LOG_UNIT * max(float(np.abs(y).mean()), TINY) if units.bend == "log" else 1.0
    bent = bend(y, np.asarray(unit), units.bend)
    # What spikes is measured by what is usual, and bent around it.
    level = float(np.median(bent)) if units.bend == "asinh" else float(bent.mean())
    spread = float(np.abs(bent - level).mean()) if units.bend == "asinh" else float(bent.std())
    return replace(units, unit=unit, level=level, spread=spread if spread > FLAT * abs(level) + TINY else 1.0)


@dataclass(frozen=True)
class WindowUnits:
    """The units of B windows, each (B, 1); flat: bool (B), windows whose spread is made up."""

    bend: Bend
    unit: Floats
    level: Floats
    spread: Floats
    flat: NDArray[np.bool_]

    def forward(self, y: Floats) -> Floats:
        """(B, n) in the series' units to (B, n) in the window's units."""
        z = (bend(y, self.unit, self.bend) - self.level) / divisor(self.spread)
        return np.arcsinh(z) if self.bend == "asinh" else z

    def where(self, known: NDArray[np.bool_], other: WindowUnits) -> WindowUnits:
        """These units where `known` (B), and the other ones elsewhere."""
        mine, theirs = ((one.unit, one.level, one.spread) for one in (self, other))
        unit, level, spread = (np.where(known[:, None], a, b) for a, b in zip(mine, theirs, strict=True))
        return WindowUnits(self.bend, unit, level, spread, np.where(known, self.flat, other.flat))

    def inverse(self, z: Floats) -> Floats:
        """(B, n) in the window's units back to the series' units."""
        y = (np.sinh(z) if self.bend == "asinh" else z) * self.spread + self.level
        return self.unit * np.expm1(np.maximum(y, 0.0)) if self.bend == "log" else y


@dataclass(frozen=True)
class UnitNodes:
    """`WindowUnits` in a graph: the target as doubles, and unit, level and spread, doubles (batch or 1, 1)."""

    bend: Bend
    target: str
    unit: str
    level: str
    spread: str

    def forward(self, g: Graph, y: str) -> str:
        """Doubles (batch, n) of the series' units as floats of the window's units."""
        apart = g.node("Sub", write_bend(g, y, self.unit, self.bend), self.level)
        z = g.node("Div", apart, write_divisor(g, self.spread))
        return g.cast(g.asinh(z) if self.bend == "asinh" else z, TensorProto.FLOAT)

    def where(self, g: Graph, series: str, other: UnitNodes) -> UnitNodes:
        """These units where the series, (batch), is a known one, and the other ones elsewhere."""
        # In doubles: not every runtime compares whole numbers.
        place = g.node("Unsqueeze", g.cast(series, TensorProto.DOUBLE), g.constant([1], np.int64))
        known = g.node("Greater", place, g.constant(-0.5, _F64))
        mine, theirs = ((one.unit, one.level, one.spread) for one in (self, other))
        unit, level, spread = (g.node("Where", known, a, b) for a, b in zip(mine, theirs, strict=True))
        return UnitNodes(self.bend, self.target, unit, level, spread)

    def inverse(self, g: Graph, z: str) -> str:
        """Floats (batch, n) of the window's units as doubles of the series' units."""
        y = g.cast(z, TensorProto.DOUBLE)
        y = g.sinh(y) if self.bend == "asinh" else y
        y = g.node("Add", g.node("Mul", y, self.spread), self.level)
        if self.bend != "log":
            return y
        grown = g.node("Sub", g.node("Exp", g.node("Max", y, g.constant(0.0, _F64))), g.constant(1.0, _F64))
        return g.node("Mul", grown, self.unit)

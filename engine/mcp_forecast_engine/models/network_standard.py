"""Regressors become small numbers around zero; what never varies is left out, the window's level comes in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from mcp_forecast_engine.models.graph import Graph
from mcp_forecast_engine.models.network_units import UnitNodes, WindowUnits
from mcp_forecast_engine.models.scaling import divisor
from mcp_forecast_engine.models.scaling_nodes import write_divisor

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
_F32, _F64 = np.float32, np.float64

# A column that hardly varies in training says nothing, and must say nothing when it varies later.
_CONSTANT = 1e-6


@dataclass(frozen=True)
class Standard:
    """Of P regressors `kept` are read, less `mean`, times `factor`, each (k); then the window's own level and spread.

    The lags come first and are all kept, so that a network may read them as a sequence; one that never varies is zero.

    context: (4, 2), mean, factor, low and high of level and log spread; (4, 0) where every window has the same units.
    """

    kept: Integers
    mean: Floats
    factor: Floats
    context: Floats

    @property
    def size(self) -> int:
        """p, numbers per window."""
        return len(self.kept) + int(self.context.shape[1])

    def of(self, rows: Floats, units: WindowUnits) -> Singles:
        """(B, P) regressors to (B, p)."""
        known = (rows[:, self.kept] - self.mean) * self.factor
        return np.concatenate([known, self.around(measures(units))], axis=1).astype(_F32)

    def around(self, both: Floats) -> Floats:
        """(B, 2) level and log spread, standardised within the range seen in training."""
        mean, factor, low, high = self.context
        return np.asarray((np.clip(both[:, : len(mean)], low, high) - mean) * factor, np.float64)

    def write(self, g: Graph, rows: str, units: UnitNodes) -> str:
        """The nodes of `of`: floats (batch, p)."""
        kept = g.node("Gather", rows, g.constant(self.kept, np.int64), axis=1)
        known = g.node("Mul", g.node("Sub", kept, g.constant(self.mean, _F32)), g.constant(self.factor, _F32))
        if not self.context.size:
            return known
        # In doubles until it is standardised: a large level hardly varies.
        mean, factor, low, high = (g.constant(row, _F64) for row in self.context)
        both = g.node("Concat", units.level, g.node("Log", write_divisor(g, units.spread)), axis=1)
        clipped = g.node("Min", g.node("Max", both, low), high)
        around = g.cast(g.node("Mul", g.node("Sub", clipped, mean), factor), TensorProto.FLOAT)
        return g.node("Concat", known, around, axis=1)


def measures(units: WindowUnits) -> Floats:
    """Level and log spread of windows, (B, 2)."""
    return np.concatenate([units.level, np.log(divisor(units.spread))], axis=1)


def standard_for(rows: Singles, shift: Floats, both: Floats, *, lags: int, constant_units: bool) -> Standard:
    """Learn from training windows: rows (W, P) less `shift` (P), level and log spread (W, 2).

    lags: how many of the first columns are lags.
    """
    mean, deviation = rows.mean(axis=0, dtype=_F64), rows.std(axis=0, dtype=_F64)
    varies = deviation > _CONSTANT * (1.0 + np.abs(mean + shift))
    kept = np.flatnonzero(varies | (np.arange(len(varies)) < lags))
    factors = np.where(varies, 1.0 / np.maximum(deviation, 1e-300), 0.0)
    context = np.zeros((4, 0))
    if not constant_units:
        middle, width = both.mean(axis=0), both.std(axis=0)
        factor = np.where(width > _CONSTANT * (1e-6 + np.abs(middle)), 1.0 / np.maximum(width, 1e-300), 0.0)
        context = np.stack([middle, factor, both.min(axis=0), both.max(axis=0)])
    return Standard(kept.astype(np.int64), (mean + shift)[kept], factors[kept], context)

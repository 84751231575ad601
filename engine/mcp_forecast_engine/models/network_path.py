"""A fitted network: a linear skip and a few small networks beside it, in the units of each window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.features import Inputs, Layout
from mcp_forecast_engine.models.graph import Graph, Ports
from mcp_forecast_engine.models.network_rows import Rows
from mcp_forecast_engine.models.network_standard import Standard
from mcp_forecast_engine.models.network_units import Units
from mcp_forecast_engine.models.regression import one_thread
from mcp_forecast_engine.models.scaling import within_reach
from mcp_forecast_engine.models.scaling_nodes import write_within_reach

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
_F32, _F64 = np.float32, np.float64
_CHUNK = 4_096


class Body(Protocol):
    """What turns standardised regressors into a forecast in the window's units."""

    def of(self, x: Singles) -> Singles:
        """(B, p) to (B, h)."""
        ...

    def write(self, g: Graph, x: str) -> str:
        """The nodes of `of`."""
        ...


@dataclass(frozen=True)
class Layers:
    """z = x @ skip + bias + sum over seeds of silu(silu(x @ first + b1) @ second + b2) @ third.

    skip: (p, h), bias: (h), first: (p, S * H), second: (S, H, H), third: (S, H, h) with the 1 / S of a mean inside.
    """

    skip: Singles
    bias: Singles
    first: Singles
    first_bias: Singles
    second: Singles
    second_bias: Singles
    third: Singles

    def of(self, x: Singles) -> Singles:
        """(B, p) to (B, h)."""
        seeds, size, _ = self.second.shape
        a = silu(x @ self.first + self.first_bias).reshape(len(x), seeds, size).transpose(1, 0, 2)
        a = silu(a @ self.second + self.second_bias[:, None])
        return np.asarray(x @ self.skip + self.bias + (a @ self.third).sum(axis=0), _F32)

    def write(self, g: Graph, x: str) -> str:
        """The nodes of `of`."""
        seeds, size, _ = self.second.shape
        linear = g.node("Add", g.node("MatMul", x, g.constant(self.skip, _F32)), g.constant(self.bias, _F32))
        a = g.node("Add", g.node("MatMul", x, g.constant(self.first, _F32)), g.constant(self.first_bias, _F32))
        a = g.node("Reshape", write_silu(g, a), g.constant([0, seeds, size], np.int64))
        a = g.node("MatMul", g.node("Transpose", a, perm=[1, 0, 2]), g.constant(self.second, _F32))
        a = write_silu(g, g.node("Add", a, g.constant(self.second_bias[:, None], _F32)))
        bent = g.node("MatMul", a, g.constant(self.third, _F32))
        bent = g.node("ReduceSum", bent, g.constant([0], np.int64), keepdims=0)
        return g.node("Add", linear, bent)


@dataclass(frozen=True)
class NetworkPath:
    """Regressors of a window, standardised, through the layers, clipped to what training saw, back to its units.

    low, high: (h), the range of a forecast in the window's units. phases: of the first forecast step that it learned;
    () for all of them. reach: see `within_reach`.
    """

    family: str
    layout: Layout
    units: Units
    rows: Rows
    standard: Standard
    layers: Body
    low: Floats
    high: Floats
    phases: tuple[int, ...] = ()
    reach: float = np.inf

    def point(self, inputs: Inputs) -> Floats:
        """The forecast in the series' units, (B, horizon)."""
        found = np.empty((len(inputs), self.layout.horizon))
        with one_thread():
            for start in range(0, len(inputs), _CHUNK):
                part = inputs.take(slice(start, start + _CHUNK))
                units = self.units.measure(part.target, part.series)
                x = self.standard.of(self.rows.of(part, units, self.layout), units)
                z = np.clip(self.layers.of(x).astype(_F64), self.low, self.high)
                found[start : start + _CHUNK] = within_reach(units.inverse(z), part.target, self.reach)
        return found

    def write(self, graph: Graph, ports: Ports) -> str:
        """The nodes of `point`."""
        units = self.units.write(graph, ports.target, ports.series)
        x = self.standard.write(graph, self.rows.write(graph, self.layout, ports, units), units)
        z = self.layers.write(graph, x)
        z = graph.node("Min", graph.node("Max", z, graph.constant(self.low, _F32)), graph.constant(self.high, _F32))
        return write_within_reach(graph, units.inverse(graph, z), ports.target, self.reach)


def silu(a: Singles) -> Singles:
    """a / (1 + exp(-a)): Elfwing, Uchibe and Doya 2018."""
    # Far below zero exp overflows to infinity and the quotient is the zero it should be.
    with np.errstate(over="ignore"):
        return np.asarray(a / (1 + np.exp(-a)), _F32)


def write_silu(g: Graph, a: str) -> str:
    """The nodes of `silu`."""
    return g.node("Mul", a, g.node("Sigmoid", a))

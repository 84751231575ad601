"""An LSTM over the segments of a window, as arrays: answers with numpy, and writes one LSTM node."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.models.graph import Graph
from mcp_forecast_engine.models.network_path import silu, write_silu

Singles = NDArray[np.float32]
_F32 = np.float32


@dataclass(frozen=True)
class SegmentLayers:
    """z = x @ skip + bias + sum over seeds of silu(state @ second + rest @ beside + second_bias) @ third.

    The last T * segment of the first `lags` columns of x are T tokens; state is what an LSTM of H units has after the
    last; rest are the columns after the lags. Gates in the order input, output, forget, cell.
    inward: (segment, S, 4, H), inward_bias: (S, 4, H), onward: (S, H, 4 H), second: (S, H, D), beside: (q, S, D),
    second_bias: (S, D), third: (S, D, h), the spline basis of the horizon and the 1 / S of a mean inside.
    """

    lags: int
    segment: int
    skip: Singles
    bias: Singles
    inward: Singles
    inward_bias: Singles
    onward: Singles
    second: Singles
    beside: Singles
    second_bias: Singles
    third: Singles

    def of(self, x: Singles) -> Singles:
        """(B, p) to (B, h)."""
        seeds, size, _ = self.onward.shape
        gates = self._tokens(x) @ self.inward.reshape(self.segment, -1) + self.inward_bias.reshape(-1)
        gates = gates.reshape(len(x), -1, seeds, 4 * size).transpose(1, 2, 0, 3)
        state = cell = np.zeros((seeds, len(x), size), _F32)
        for step in gates:
            i, o, f, c = np.split(step + state @ self.onward, 4, axis=2)
            cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(c)
            state = _sigmoid(o) * np.tanh(cell)
        rest = np.einsum("bq,qsd->sbd", x[:, self.lags :], self.beside)
        a = silu(state @ self.second + rest + self.second_bias[:, None])
        return np.asarray(x @ self.skip + self.bias + (a @ self.third).sum(axis=0), _F32)

    def write(self, g: Graph, x: str) -> str:
        """The nodes of `of`; the seeds are one LSTM whose recurrence is block-diagonal."""
        seeds, size, _ = self.onward.shape
        tokens = self._write_tokens(g, x)
        state = g.node("LSTM", tokens, *self._gates(g), hidden_size=seeds * size)
        state = g.node("Gather", state, g.constant(-1, np.int64), axis=0)
        state = g.node("Reshape", state, g.constant([-1, seeds, size], np.int64))
        state = g.node("MatMul", g.node("Transpose", state, perm=[1, 0, 2]), g.constant(self.second, _F32))
        a = g.node("Add", state, g.constant(self.second_bias[:, None], _F32))
        if len(self.beside):
            rest = g.part(x, self.lags, np.iinfo(np.int64).max)
            beside = g.constant(self.beside.transpose(1, 0, 2), _F32)
            a = g.node("Add", a, g.node("MatMul", g.node("Unsqueeze", rest, g.constant([0], np.int64)), beside))
        bent = g.node("MatMul", write_silu(g, a), g.constant(self.third, _F32))
        bent = g.node("ReduceSum", bent, g.constant([0], np.int64), keepdims=0)
        linear = g.node("Add", g.node("MatMul", x, g.constant(self.skip, _F32)), g.constant(self.bias, _F32))
        return g.node("Add", linear, bent)

    def _tokens(self, x: Singles) -> Singles:
        """(B, T, segment)."""
        first = self.lags % self.segment
        return np.asarray(x[:, first : self.lags].reshape(len(x), -1, self.segment), _F32)

    def _write_tokens(self, g: Graph, x: str) -> str:
        """(T, batch, segment)."""
        lags = g.part(x, self.lags % self.segment, self.lags)
        tokens = g.node("Reshape", lags, g.constant([0, self.lags // self.segment, self.segment], np.int64))
        return g.node("Transpose", tokens, perm=[1, 0, 2])

    def _gates(self, g: Graph) -> tuple[str, str, str]:
        seeds, size, _ = self.onward.shape
        wide = 4 * seeds * size
        inward = self.inward.transpose(2, 1, 3, 0).reshape(1, wide, self.segment)
        onward = np.zeros((4, seeds, size, seeds, size), _F32)
        for s in range(seeds):
            onward[:, s, :, s, :] = self.onward[s].reshape(size, 4, size).transpose(1, 2, 0)
        bias = np.concatenate([self.inward_bias.transpose(1, 0, 2).reshape(-1), np.zeros(wide, _F32)])
        arrays = (inward, onward.reshape(1, wide, seeds * size), bias[None])
        first, second, third = (g.constant(array, _F32) for array in arrays)
        return first, second, third


def _sigmoid(a: Singles) -> Singles:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-a)), _F32)


def spline_basis(horizon: int, knots: int) -> Singles:
    """Hat functions of evenly spaced knots over the horizon, (knots, horizon): a linear spline per forecast."""
    if knots >= horizon:
        return np.eye(horizon, dtype=_F32)
    steps, places = np.arange(horizon), np.linspace(0, horizon - 1, knots)
    return np.stack([np.interp(steps, places, row) for row in np.eye(knots)]).astype(_F32)

"""The regressors of a window: its lags, the covariates around it, the calendar of its first step, its static facts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.frame import Panel
from mcp_forecast_engine.models.basis import Basis, basis_for
from mcp_forecast_engine.models.features import Inputs, Layout
from mcp_forecast_engine.models.scaling import LocalScale

Floats = NDArray[np.float64]

_MOST_FUTURE_COLUMNS = 900


@dataclass(frozen=True)
class Design:
    """How inputs become p regressors.

    future, past, fixed: bases of known-future, historical and static covariates. blocks: the horizon is averaged into
    this many blocks where every step would give too many columns. Columns, in order: lags (lookback), future
    (blocks x K), mean of the last season of both past bases, every past step of the historical covariates
    (past x K), calendar of the first forecast step, static.
    """

    future: Basis
    past: Basis
    fixed: Basis
    blocks: int

    def penalty_shares(self, layout: Layout, future: float) -> Floats:
        """(p), `future` for the columns of the known-future covariates ahead and 1 for all others."""
        ahead = self.blocks * self.future.size
        others = self.future.size + self.past.size * (1 + layout.past)
        others += len(layout.calendar) + self.fixed.size
        return np.concatenate([np.ones(layout.lookback), np.full(ahead, future), np.ones(others)])

    def rows(self, inputs: Inputs, scale: LocalScale, layout: Layout) -> Floats:
        """(B, p) regressors of B windows."""
        size = len(inputs)
        ahead = self.future.expand(inputs.cov_future)
        own, known_past = np.split(inputs.cov_hist, [len(layout.historical)], axis=2)
        steps = self.past.expand(own)
        parts = [
            scale.forward(inputs.target),
            (block_means(layout.horizon, self.blocks) @ ahead).reshape(size, -1),
            self.future.expand(known_past).mean(axis=1),
            steps.mean(axis=1),
            steps.reshape(size, -1),
            inputs.calendar,
            self.fixed.expand(inputs.static),
        ]
        return np.concatenate(parts, axis=1)


def design_for(panel: Panel, layout: Layout) -> Design:
    """Learn the bases from a training panel."""
    future = basis_for(panel, layout.known_future)
    blocks = min(layout.horizon, max(_MOST_FUTURE_COLUMNS // max(future.size, 1), 1))
    return Design(
        future=future,
        past=basis_for(panel, layout.historical),
        fixed=basis_for(panel, layout.static),
        blocks=blocks,
    )


def block_means(horizon: int, blocks: int) -> Floats:
    """Averages of neighbouring horizon steps, (blocks, horizon); the identity where every step has its own block."""
    block = np.arange(horizon) * blocks // horizon
    member = (block[None, :] == np.arange(blocks)[:, None]).astype(np.float64)
    return np.asarray(member / member.sum(axis=1, keepdims=True), np.float64)

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
Integers = NDArray[np.int64]

_HOURS = 24
_MOST_FUTURE_COLUMNS = 900
_MOST_RECENT_COLUMNS = 300
# Of seven days, those that speak for the next one (Lago et al. 2021: one, two, three and seven days ago).
_SEASONS_BACK = (1, 2, 3, 7)


@dataclass(frozen=True)
class Design:
    """How inputs become p regressors.

    future, past, fixed: bases of known-future, historical and static covariates. blocks: the horizon is averaged into
    this many blocks where every step would give too many columns. lags: int64 (l), which of the lookback are read.
    recent: whether the last steps of the known-future covariates are read one by one. Columns, in order: lags (l),
    future (blocks x K), mean of the last season of both past bases, every past step of the historical covariates
    (past x K), every past step of the continuous known-future ones, calendar of the first forecast step, static.
    """

    future: Basis
    past: Basis
    fixed: Basis
    blocks: int
    lags: Integers
    recent: bool

    @property
    def steps_apart(self) -> int:
        """Known-future columns that are also read step by step before the origin."""
        return len(self.future.linear) if self.recent else 0

    def penalty_shares(self, layout: Layout, future: float) -> Floats:
        """(p), `future` for the columns of the known-future covariates ahead and 1 for all others."""
        ahead = self.blocks * self.future.size
        others = self.future.size + self.past.size * (1 + layout.past)
        others += layout.past * self.steps_apart + len(layout.calendar) + self.fixed.size
        return np.concatenate([np.ones(len(self.lags)), np.full(ahead, future), np.ones(others)])

    def rows(self, inputs: Inputs, scale: LocalScale, layout: Layout) -> Floats:
        """(B, p) regressors of B windows."""
        size = len(inputs)
        ahead = self.future.expand(inputs.cov_future)
        own, known_past = np.split(inputs.cov_hist, [len(layout.historical)], axis=2)
        steps = self.past.expand(own)
        parts = [
            scale.forward(inputs.target[:, self.lags]),
            (block_means(layout.horizon, self.blocks) @ ahead).reshape(size, -1),
            self.future.expand(known_past).mean(axis=1),
            steps.mean(axis=1),
            steps.reshape(size, -1),
            self.future.straight(known_past).reshape(size, -1) if self.recent else np.zeros((size, 0)),
            inputs.calendar,
            self.fixed.expand(inputs.static),
        ]
        return np.concatenate(parts, axis=1)


def design_for(panel: Panel, layout: Layout, *, by_season: bool = False) -> Design:
    """Learn the bases from a training panel.

    by_season: for weights that hold at one phase of the season alone, where every column stands for one place of it.
    """
    future = basis_for(panel, layout.known_future)
    blocks = min(layout.horizon, max(_MOST_FUTURE_COLUMNS // max(future.size, 1), 1))
    return Design(
        future=future,
        past=basis_for(panel, layout.historical),
        fixed=basis_for(panel, layout.static),
        blocks=blocks,
        lags=_lags(layout, by_season=by_season),
        recent=by_season and 0 < layout.past * len(future.linear) <= _MOST_RECENT_COLUMNS,
    )


def _lags(layout: Layout, *, by_season: bool) -> Integers:
    """Every step of the lookback; a week of hours, phase by phase, is read as the four days that matter."""
    m, every = layout.season_length, np.arange(layout.lookback, dtype=np.int64)
    if not by_season or m < _HOURS or layout.lookback < max(_SEASONS_BACK) * m:
        return every
    return np.concatenate([every[len(every) - k * m :][:m] for k in sorted(_SEASONS_BACK, reverse=True)])


def block_means(horizon: int, blocks: int) -> Floats:
    """Averages of neighbouring horizon steps, (blocks, horizon); the identity where every step has its own block."""
    block = np.arange(horizon) * blocks // horizon
    member = (block[None, :] == np.arange(blocks)[:, None]).astype(np.float64)
    return np.asarray(member / member.sum(axis=1, keepdims=True), np.float64)

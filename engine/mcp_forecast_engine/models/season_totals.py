"""A forecast of single steps drawn towards a forecast of whole seasons: noise and season cancel in the latter.

Temporal aggregation as in Athanasopoulos, Hyndman, Kourentzes and Petropoulos (2017), "Forecasting with temporal
hierarchies", with two levels only: the steps, and whole seasons counted back from the last step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mcp_forecast_engine.models.local_window import LocalWindow
from mcp_forecast_engine.models.tensor import Tensor

Path = Callable[[LocalWindow, int], Tensor]

# Three or four means never show a trend that pays for its parameters (AICc): a steep straight line was drawn back by
# a tenth of its level.
FEWEST_SEASONS = 5
_SMALLEST, _FURTHEST = 1e-6, 5.0


def season_means(window: LocalWindow) -> LocalWindow:
    """The same histories as means of whole seasons, (B, L / m), none of which has a season of its own."""
    m, seasons = window.season, window.length // window.season
    mask = window.mask.reshaped((-1, seasons, m)).part(2, 0, 1).reshaped((0, -1))
    y = window.y.reshaped((-1, seasons, m)).sum(2).reshaped((0, -1)) * (1.0 / m) * mask
    return replace(window, y=y, mask=mask, steps=mask.sum(1).at_least(1.0), length=seasons, season=1)


def drawn(path: Path, window: LocalWindow, horizon: int, pull: float) -> Tensor:
    """`path` with the mean of each season ahead moved by `pull` (0 to 1) of the way to `path` of season means.

    The way is a ratio where the history and both means are positive, a difference otherwise. Histories of fewer than
    five whole seasons are left alone.
    """
    m = window.season
    if m < 2 or pull == 0.0 or window.length < FEWEST_SEASONS * m:
        return path(window, horizon)
    ahead = -(-horizon // m)
    steps = path(window, ahead * m).reshaped((-1, ahead, m))
    whole = season_means(window)
    there = path(whole, ahead).reshaped((-1, ahead, 1))
    here = steps.sum(2) * (1.0 / m)
    usable = (whole.steps.above(FEWEST_SEASONS - 0.5)).choose(pull, 0.0).reshaped((0, 0, 1))
    ratio = (there.at_least(_SMALLEST) / here.at_least(_SMALLEST)).at_least(1.0 / _FURTHEST).at_most(_FURTHEST)
    factor = (ratio.log() * usable).exp()
    lowest = here.at_most(there).at_most(window.positive.choose(np.inf, 0.0).reshaped((0, 0, 1)))
    moved = lowest.above(_SMALLEST).choose(steps * factor, steps + (there - here) * usable)
    return moved.reshaped((0, -1)).part(1, 0, horizon)

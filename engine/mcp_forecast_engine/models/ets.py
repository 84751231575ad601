"""Exponential smoothing with level, damped trend and season: every kind at many weights, averaged by likelihood.

Hyndman, Koehler, Ord and Snyder (2008), "Forecasting with exponential smoothing", additive errors; seasons none,
additive or multiplicative. Instead of searching one best fit per series, a grid of weights is run for all series at
once and averaged with AICc weights. States before the first step come from a walk backwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mcp_forecast_engine.models.local_window import LocalWindow
from mcp_forecast_engine.models.season_profile import repeated, season_profile
from mcp_forecast_engine.models.tensor import Carried, Floats, Tensor, columns, gathered, likelihood_weights

Scale = Literal["raw", "log"]
Season = Literal["none", "additive", "multiplicative"]

_LEVEL = (0.05, 0.2, 0.4, 0.6, 0.8, 0.97)
_TREND = (0.05, 0.2)
_DAMPING = (0.85, 0.95, 1.0)
_SEASON = (0.05, 0.2, 0.4)
# A multiplicative season is about a level well above zero: its floor, in units of the mean size.
_LOWEST_LEVEL = 1e-3
_LOWEST_FACTOR = 0.01
_NEVER = 1e9


@dataclass(frozen=True)
class Grid:
    """G candidates, each (1, G): how far an error moves level, trend and season; the damping; parameters counted.

    recent, whole: 1 where the trend starts as the slope of the last seasons, or is that of the whole history for good.
    """

    season: Season
    level: Floats
    trend: Floats
    seasonal: Floats
    damping: Floats
    recent: Floats
    whole: Floats
    parameters: Floats


def grid_of(season: Season, places: int) -> Grid:
    """No trend, a fixed drift, and moving trends of three dampings; at several weights each.

    Parameters as in AICc: weights, states, a damping below 1, the variance.
    """
    moving = [(beta, phi, 1.0, 0.0, 5.0 + (phi < 1.0)) for beta in _TREND for phi in _DAMPING]
    trends = [(0.0, 0.0, 0.0, 0.0, 3.0), (0.0, 1.0, 0.0, 1.0, 4.0), *moving]
    rows = [
        (alpha, alpha * beta, gamma * (1.0 - alpha), *others)
        for alpha in _LEVEL
        for gamma in (_SEASON if season != "none" else (0.0,))
        for beta, *others in trends
    ]
    level, trend, seasonal, damping, recent, whole, parameters = (
        np.array(row)[None, :] for row in zip(*rows, strict=True)
    )
    states = float(places) if season != "none" else 0.0
    return Grid(season, level, trend, seasonal, damping, recent, whole, parameters + states)


def ets_path(window: LocalWindow, horizon: int, *, scale: Scale, memory: float) -> Tensor:
    """The path in the window's units, (B, horizon). scale "log": smoothed as logarithms where all are positive."""
    if scale == "raw":
        return _averaged(window, _seasons(window, multiplicative=True), horizon, memory)
    logs, ceiling = window.logarithms()
    path = _averaged(logs, _seasons(window, multiplicative=False), horizon, memory)
    return window.positive.choose(window.positive.choose(path.at_most(ceiling), 0.0).exp(), path)


def _seasons(window: LocalWindow, *, multiplicative: bool) -> tuple[Season, ...]:
    if window.season < 2:
        return ("none",)
    return ("none", "additive", "multiplicative") if multiplicative else ("none", "additive")


def _averaged(window: LocalWindow, seasons: tuple[Season, ...], horizon: int, memory: float) -> Tensor:
    found = [_Bank(window, grid_of(season, window.season), memory).run(horizon) for season in seasons]
    weights = likelihood_weights(gathered([loss for loss, _ in found], 1))
    paths = gathered([path for _, path in found], 1)
    return (paths * weights.reshaped((0, 0, 1))).sum(1).reshaped((0, -1))


class _Bank:
    """All candidates of one kind of season, run over all series at once."""

    def __init__(self, window: LocalWindow, grid: Grid, memory: float) -> None:
        self.window, self.grid = window, grid
        self.factor = grid.season == "multiplicative"
        # Where values are not all positive the multiplicative kind is never chosen, but has to stay finite.
        self.y = window.positive.choose(window.y, 1.0) * window.mask if self.factor else window.y
        self.profile = self._profile(memory)

    def run(self, horizon: int) -> tuple[Tensor, Tensor]:
        """AICc (B, G) and paths (B, G, horizon)."""
        window, grid = self.window, self.grid
        before, _ = self._walked(self._end(), backwards=True)
        level, trend = before.values
        # Walking back, the trend is the step to the earlier value; turned round, it leads from before the first one.
        start = Carried((level + trend * grid.damping, -trend), before.rings)
        end, squares = self._walked(start, backwards=False)
        return self._information(window.loss(squares)), self._paths(end, horizon)

    def _profile(self, memory: float) -> Tensor:
        window = self.window
        if self.grid.season == "none":
            return window.steps * 0.0
        return season_profile(window, memory, multiplicative=self.factor)

    def _end(self) -> Carried:
        """Level and trend of a line through the last two seasons (six steps at least), reversed; the profile."""
        window, grid = self.window, self.grid
        z, season = self.y, window.season
        if grid.season != "none":
            whole = repeated(self.profile, season, window.length)
            z = z / whole if self.factor else z - whole
        latest = (np.arange(window.length) >= window.length - max(2 * season, 6)).astype(float)[None, :]
        slope, mean, middle = _line(z, window.mask * latest, window.length)
        drift, _, _ = _line(z, window.mask, window.length)
        trend = slope * grid.recent + drift * grid.whole
        level = mean - trend * middle
        ring = columns(self.profile) + np.zeros_like(grid.level)[None]
        return Carried((level, -trend), (ring.ring(),) if grid.season != "none" else ())

    def _walked(self, carried: Carried, *, backwards: bool) -> tuple[Carried, Tensor]:
        """States after a walk over the history, and the sum of squared errors of one step ahead, (B, G)."""
        grid, factor = self.grid, self.factor
        seasonal = grid.season != "none"

        def step(carried: Carried, row: Sequence[Tensor]) -> tuple[Carried, tuple[Tensor, ...]]:
            level, trend, squares = carried.values
            y, genuine = row
            slope = trend * grid.damping
            base = (level + slope).at_least(_LOWEST_LEVEL) if factor else level + slope
            place = carried.rings[0].head() if seasonal else None
            expected = base if place is None else base * place if factor else base + place
            error = (y - expected) * genuine
            own = error / place if factor and place is not None else error
            moved = (
                level + (base - level) * genuine + own * grid.level,
                trend + (slope - trend) * genuine + own * grid.trend,
                squares + error * error,
            )
            if place is None:
                return Carried(moved), ()
            turned = place + (error / base if factor else error) * grid.seasonal
            turned = turned.at_least(_LOWEST_FACTOR) if factor else turned
            return Carried(moved, (carried.rings[0].turned(turned),)), ()

        rings = tuple(ring.reversed() for ring in carried.rings) if backwards else carried.rings
        squares = self.y.part(1, 0, 1) * 0.0 + np.zeros_like(grid.level)
        rows = [columns(self.y), columns(self.window.mask)]
        end = self.y.scan(step, Carried((*carried.values, squares), rings), rows, backwards=backwards).end
        rings = tuple(ring.reversed() for ring in end.rings) if backwards else end.rings
        return Carried(end.values[:2], rings), end.values[2]

    def _information(self, loss: Tensor) -> Tensor:
        """AICc (Hurvich and Tsai 1989), finite where there are fewer steps than parameters."""
        k = self.grid.parameters
        found = loss + 2.0 * k + 2.0 * k * (k + 1.0) / (self.window.steps - k - 1.0).at_least(0.5)
        return self.window.positive.choose(found, found + _NEVER) if self.factor else found

    def _paths(self, end: Carried, horizon: int) -> Tensor:
        grid = self.grid
        run = np.cumsum(grid.damping[:, :, None] ** np.arange(1, horizon + 1), axis=2)
        level, trend = (value.reshaped((0, 0, 1)) for value in end.values)
        path = level + trend * run
        if grid.season == "none":
            return path
        m = self.window.season
        places = end.rings[0].stacked().transposed((1, 2, 0)).take([step % m for step in range(horizon)], 2)
        return path * places if self.factor else path + places


def _line(z: Tensor, weight: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Slope of the line through weighted values, their mean, and its place counted from the last step, (B, 1)."""
    place = (np.arange(length) - (length - 1.0))[None, :]
    count = weight.sum(1).at_least(1.0)
    mean, middle = (z * weight).sum(1) / count, (weight * place).sum(1) / count
    apart = (place - middle) * weight
    return (apart * (z - mean)).sum(1) / (apart * apart).sum(1).at_least(1e-12), mean, middle

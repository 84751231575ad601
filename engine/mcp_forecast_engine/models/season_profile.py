"""Is there a season, and what does it look like: the usual test and decomposition, remembering recent seasons more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcp_forecast_engine.models.local_window import LocalWindow
from mcp_forecast_engine.models.tensor import Tensor

# Two-sided 90 %, as in the Theta method's test (Fiorucci et al. 2016).
_NORMAL_90 = 1.645
_SMALLEST_FACTOR = 0.01


@dataclass(frozen=True)
class Deseasonalised:
    """z: (B, L), the history without its season, zero where made up; factor, shift: (B, m), what puts it back."""

    z: Tensor
    factor: Tensor
    shift: Tensor
    season: int

    def back(self, path: Tensor, horizon: int) -> Tensor:
        """A path (B, h) with the season again."""
        return path * repeated(self.factor, self.season, horizon) + repeated(self.shift, self.season, horizon)


def is_seasonal(window: LocalWindow) -> Tensor:
    """Truth (B, 1): the autocorrelation at lag m differs from zero at the 90 % level, over at least two seasons."""
    m, length = window.season, window.length
    if m < 2 or length <= m:
        return window.steps.above(np.inf)
    apart = (window.y - window.mean(window.y)) * window.mask
    power = (apart * apart).sum(1).at_least(1e-300)
    limit = window.steps * 0.0 + 1.0
    for lag in range(1, m):
        r = _product(apart, lag, length) / power
        limit = limit + r * r * 2.0
    strength = (_product(apart, m, length) / power).abs()
    significant = (strength * strength).above(limit / window.steps * _NORMAL_90**2)
    return (significant.choose(1.0, 0.0) * window.steps).above(2 * m - 0.5)


def _product(apart: Tensor, lag: int, length: int) -> Tensor:
    return (apart.part(1, lag, length) * apart.part(1, 0, length - lag)).sum(1)


def deseasonalised(window: LocalWindow, memory: float) -> Deseasonalised:
    """Take the season out where there is one: as factors where all values are positive, as shifts otherwise."""
    m, length = window.season, window.length
    if m < 2:
        return Deseasonalised(z=window.y, factor=window.steps * 0.0 + 1.0, shift=window.steps * 0.0, season=1)
    seasonal = is_seasonal(window).choose(1.0, 0.0)
    factors = window.positive.choose(seasonal, 0.0)
    factor = season_profile(window, memory, multiplicative=True)
    factor = (factor - 1.0) * factors + 1.0
    shift = season_profile(window, memory, multiplicative=False) * (seasonal - factors)
    z = (window.y - repeated(shift, m, length)) / repeated(factor, m, length) * window.mask
    return Deseasonalised(z=z, factor=factor, shift=shift, season=m)


def season_profile(window: LocalWindow, memory: float, *, multiplicative: bool) -> Tensor:
    """The place of each step of the season against a centred moving average, (B, m); column 0 is the first step of y.

    memory: weight of a season against the one after it. 1 is the classical decomposition; below 1 a profile that
    changes is followed. Multiplicative: factors with mean 1, at least 0.01, for positive windows (else unusable but
    finite); additive: shifts with mean 0. Neutral where fewer than two seasons are known.
    """
    m, length = window.season, window.length
    neutral = 1.0 if multiplicative else 0.0
    if length < 2 * m:
        return window.steps * np.zeros((1, m)) + neutral
    trend, whole = _moving_average(window)
    if multiplicative:
        usable = trend.above(1e-9).choose(1.0, 0.0) * whole
        apart = window.y / trend.at_least(1e-9)
    else:
        usable, apart = whole, window.y - trend
    seasons = length // m
    weight = usable.reshaped((-1, seasons, m)) * (memory ** np.arange(seasons - 1.0, -1.0, -1.0))[None, :, None]
    total = weight.sum(1)
    raw = (apart.reshaped((-1, seasons, m)) * weight).sum(1) / total.at_least(1e-12)
    raw = total.above(1e-12).choose(raw, neutral).reshaped((0, -1))
    average = raw.sum(1) * (1.0 / m)
    found = (raw / average.at_least(1e-9)).at_least(_SMALLEST_FACTOR) if multiplicative else raw - average
    return window.steps.above(2 * m - 0.5).choose(found, neutral)


def _moving_average(window: LocalWindow) -> tuple[Tensor, Tensor]:
    """Centred mean over one season (B, L) (both ends at half weight where m is even), and 1 where it is whole."""
    m, length = window.season, window.length
    reach = m // 2
    sums = window.y.running_sum(1)
    zero = sums.part(1, 0, 1) * 0.0
    sums = zero.join(sums, axis=1)
    if m % 2:
        middle = (sums.part(1, m, length + 1) - sums.part(1, 0, length + 1 - m)) * (1.0 / m)
        size = m
    else:
        one = sums.part(1, m, length + 1) - sums.part(1, 0, length + 1 - m)
        middle = (one.part(1, 0, length - m) + one.part(1, 1, length + 1 - m)) * (0.5 / m)
        size = m + 1
    margin = window.y.part(1, 0, reach) * 0.0
    whole = window.mask.part(1, 0, length - size + 1)
    return margin.join(middle, margin, axis=1), margin.join(whole, margin, axis=1)


def repeated(profile: Tensor, season: int, steps: int) -> Tensor:
    """A profile (B, m) over `steps` steps from its first place on, (B, steps); (B, 1) where there is no season."""
    return profile.take([place % season for place in range(steps)], 1) if season > 1 else profile

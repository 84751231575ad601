"""The dynamic optimised Theta method: a smoothed level plus part of a trend line that is refitted at every step.

Fiorucci, Pellegrini, Louzada, Petropoulos and Koehler (2016), "Models for optimising the theta method". For a smoothing
weight, the start level and the part of the trend (1 - 1/θ) enter linearly, so both are solved for; the weight itself is
averaged over a grid by likelihood. Seasons are taken out first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcp_forecast_engine.models.local_window import LocalWindow
from mcp_forecast_engine.models.season_profile import deseasonalised
from mcp_forecast_engine.models.tensor import Carried, Floats, Tensor, columns, likelihood_weights

SMOOTHING = np.array([0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97])[None, :]
_TINY = 1e-300
_UNKNOWN = 3.0


def theta_path(window: LocalWindow, horizon: int, *, memory: float) -> Tensor:
    """The path in the window's units, (B, horizon). memory: of the season (see `season_profile`)."""
    plain = deseasonalised(window, memory)
    fit = _fitted(window, plain.z)
    weights = likelihood_weights(window.loss(fit.squares))
    return plain.back(_ahead(window, fit, weights, horizon), horizon)


@dataclass(frozen=True)
class _Line:
    """The trend line after k steps, all (B, 1): it passes through mean; its value at 0 and its slope."""

    origin: Tensor
    slope: Tensor
    mean: Tensor

    def after(self, y: Tensor, k: Tensor) -> _Line:
        """The line refitted with the k-th value."""
        slope = ((k - 2.0) * self.slope + 6.0 * (y - self.mean) / k) / (k + 1.0)
        slope = slope * k.above(1.5).choose(1.0, 0.0)
        mean = ((k - 1.0) * self.mean + y) / k
        return _Line(origin=mean - (k + 1.0) * 0.5 * slope, slope=slope, mean=mean)

    def ahead(self, fade: Tensor | Floats) -> Tensor:
        """What the smoothed level misses of the line, (B, G); fade: (1 - weight) to the power of the steps so far."""
        return fade * self.origin + (1.0 / SMOOTHING - fade * (1.0 / SMOOTHING - 1.0)) * self.slope


@dataclass(frozen=True)
class _Fit:
    """level, fade, squares: (B, G) at the end of the history; share of the trend (B, G); the line there."""

    level: Tensor
    fade: Tensor
    share: Tensor
    squares: Tensor
    line: _Line


def _fitted(window: LocalWindow, z: Tensor) -> _Fit:
    first = (z * window.onset()).sum(1)
    zero = z.part(1, 0, 1) * 0.0
    wide = zero + np.zeros_like(SMOOTHING)

    def step(carried: Carried, row: Sequence[Tensor]) -> tuple[Carried, tuple[Tensor, ...]]:
        level, fade, origin, slope, mean, *sums = carried.values
        y, genuine, k, counted = row
        line = _Line(origin, slope, mean)
        line_part, missed = line.ahead(fade), y - level
        products = (fade * fade, fade * line_part, line_part * line_part, missed * fade, missed * line_part,
                    missed * missed)  # fmt: skip
        after = line.after(y, k)
        moved = (
            level + genuine * SMOOTHING * missed,
            fade * (1.0 - genuine * SMOOTHING),
            *(old + genuine * (new - old) for old, new in _pairs(line, after)),
            *(total + counted * product for total, product in zip(sums, products, strict=True)),
        )
        return Carried(moved), ()

    start = Carried((wide + first, wide + 1.0, zero, zero, zero, *[wide] * 6))
    walked = z.scan(step, start, [columns(row) for row in (z, window.mask, window.ages(), _counted(window))])
    level, fade, origin, slope, mean, *sums = walked.end.values
    share, lift, squares = _solved(*sums)
    return _Fit(level + fade * lift, fade, share, squares, _Line(origin, slope, mean))


def _counted(window: LocalWindow) -> Tensor:
    """1 where an error counts, (B, L): not at the first three steps (or half of them), which the line does not know."""
    unknown = (window.steps * 0.5).at_most(_UNKNOWN)
    return (window.ages() - unknown).above(0.5).choose(1.0, 0.0) * window.mask


def _pairs(old: _Line, new: _Line) -> list[tuple[Tensor, Tensor]]:
    return [(old.origin, new.origin), (old.slope, new.slope), (old.mean, new.mean)]


def _solved(ff: Tensor, fl: Tensor, ll: Tensor, mf: Tensor, ml: Tensor, mm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Least squares of what the level missed on the fading start and the line, its share held between 0 and 1."""
    determinant = ff * ll - fl * fl
    regular = determinant.above(ff * ll * 1e-9 + _TINY)
    share = regular.choose((ml * ff - mf * fl) / regular.choose(determinant, 1.0), 0.0).at_least(0.0).at_most(1.0)
    lift = (mf - share * fl) / ff.at_least(_TINY)
    squares = mm + lift * lift * ff + share * share * ll - lift * mf * 2.0 - share * ml * 2.0 + lift * share * fl * 2.0
    return share, lift, squares


def _ahead(window: LocalWindow, fit: _Fit, weights: Tensor, horizon: int) -> Tensor:
    """Forecasts stand in for values, so the line goes on being refitted; averaged over the grid, (B, horizon)."""

    def step(carried: Carried, row: Sequence[Tensor]) -> tuple[Carried, tuple[Tensor, ...]]:
        level, fade, origin, slope, mean = carried.values
        line = _Line(origin, slope, mean)
        y = level + fit.share * line.ahead(fade)
        after = line.after(y, row[0])
        moved = (level + SMOOTHING * (y - level), fade * (1.0 - SMOOTHING), after.origin, after.slope, after.mean)
        return Carried(moved), ((y * weights).sum(1),)

    wide = np.zeros_like(SMOOTHING)
    line = fit.line
    start = Carried((fit.level, fit.fade, line.origin + wide, line.slope + wide, line.mean + wide))
    ages = columns(window.steps + np.arange(1.0, horizon + 1.0)[None, :])
    (kept,) = ages.scan(step, start, [ages]).kept
    return kept.reshaped((horizon, -1)).transposed((1, 0))
